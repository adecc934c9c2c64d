"""What to try first, rule by rule; docs/methods.md prints this table (`make evidence`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from limbeck.advice.evidence import How
from limbeck.advice.situation import Situation

KD = "0.1*ce + 0.9*kd"
ENSEMBLE = '`--teacher \'ensemble("runs/a", "runs/b")\'`'


@dataclass(frozen=True)
class Try:
    """An objective to try.

    Attributes:
        objective: in the notation.
        how: how its teacher teaches.
        options: of `limbeck distill` that go with it, or what to do before.
    """

    objective: str
    how: How = ""
    options: str = ""

    def __str__(self) -> str:
        return f"`{self.objective}`" + (f" with {self.options}" if self.options else "")


@dataclass(frozen=True)
class Rule:
    """What to try in a situation.

    Attributes:
        at_hand: the situation, for people.
        tasks: names of the tasks that it is for.
        fits: a function that tells of a situation of such a task whether the rule is for it.
        tries: what to try, the first first.
        because: the reason, a clause without a full stop.
    """

    at_hand: str
    tasks: tuple[str, ...]
    fits: Callable[[Situation], bool]
    tries: tuple[Try, ...]
    because: str


CHOICE = ("classification",)
SCORED = ("multilabel", "token_classification", "segmentation")


def _network(given: Situation) -> bool:
    return given.teacher == "network" and given.labels != "none"


def _untaught(given: Situation) -> bool:
    return not given.taught


def _taught(given: Situation) -> bool:
    return given.teacher in ("network", "logits", "embeddings", "answers")


GUIDE: tuple[Rule, ...] = (
    Rule(
        "few images, a teacher as a network",
        CHOICE,
        lambda given: _network(given) and given.kind == "image" and given.labels == "all" and given.few,
        (
            Try("cutmix(0.1*ce + 0.9*kd)"),
            Try("0.1*ce + 0.9*kd + sskd"),
            Try("ce + r2kd"),
            Try("ce + mixkd"),
        ),
        "mixed and turned images make more of the few that there are, and the teacher answers for them, at 2 "
        "to 5 times the time of a step",
    ),
    Rule(
        "a teacher as a network",
        CHOICE,
        lambda given: _network(given) and given.labels == "all",
        (Try(KD), Try("ce + kd + rkd")),
        "plain KD reads nothing but logits, and a relation between samples may add to it",
    ),
    Rule(
        "a teacher's logits only (TorchScript, another framework, a cache)",
        CHOICE,
        lambda given: given.teacher == "logits" and given.labels != "none",
        (Try(KD), Try("ce + dkd")),
        "they read nothing else",
    ),
    Rule(
        "a teacher's embeddings too",
        CHOICE,
        lambda given: given.teacher == "embeddings" and given.labels != "none",
        (Try("ce + kd + icd"), Try("ce + kd + rkd"), Try("ce + kd + 0.8*crd")),
        "relations between samples ask nothing of the architectures",
    ),
    Rule(
        "a teacher's answers in a file",
        CHOICE,
        lambda given: given.teacher == "answers" and given.labels != "none",
        (Try("0.1*ce + 0.9*kd(temperature=1)"),),
        "labels and probabilities of a few classes cannot be softened by a temperature",
    ),
    Rule(
        "few labels, many samples without",
        CHOICE,
        lambda given: given.teacher in ("network", "logits", "embeddings") and given.labels == "some",
        (Try(KD), Try("ckd")),
        "the teacher's answers need no label",
    ),
    Rule(
        "no labels",
        CHOICE,
        lambda given: given.teacher in ("network", "logits", "embeddings") and given.labels == "none",
        (Try("kd"), Try("kd + rkd")),
        "the teacher's answers need no label",
    ),
    Rule(
        "networks of one family, images",
        CHOICE,
        lambda given: _network(given) and given.kind in ("image", None) and given.family == "same",
        (Try("ce + 5*reviewkd"), Try("ce + 100*fitnet"), Try("ce + kd + vid")),
        "their stages mean the same",
    ),
    Rule(
        "networks of other families or depths",
        CHOICE,
        lambda given: _network(given) and given.family == "other",
        (Try("ce + kd + icd"), Try("ce + srrl"), Try("ce + infoflow")),
        "embeddings, or an auxiliary of the student's depth, ask nothing of the stages",
    ),
    Rule(
        "texts with all labels",
        CHOICE,
        lambda given: _network(given) and given.kind == "text" and given.labels == "all" and not given.few,
        (Try("ce + icd"), Try("label_smoothing")),
        "the labels keep their whole weight",
    ),
    Rule(
        "few texts",
        CHOICE,
        lambda given: _network(given) and given.kind == "text" and (given.few or given.labels == "some"),
        (Try("ce + mixkd"),),
        "the teacher answers for mixtures of the texts that there are",
    ),
    Rule(
        "no labels, answers in a file",
        CHOICE,
        lambda given: given.teacher == "answers" and given.labels == "none",
        (Try("kd(temperature=1)"),),
        "the answers stand in for the labels",
    ),
    Rule(
        "wrong labels",
        CHOICE,
        lambda given: given.taught and given.teacher != "several" and given.labels == "noisy",
        (Try("ce + kd", options="a teacher of clean labels ([noise.md](noise.md))"),),
        "soft targets outweigh a wrong label",
    ),
    Rule(
        "a teacher far above its student",
        CHOICE,
        lambda given: _network(given) and given.far,
        (
            Try(KD, "schedule", "`--teacher 'checkpoints(\"runs/teacher\")'`"),
            Try(KD, "assistant", "an assistant between them as the teacher"),
            Try(KD, "friendly", "a teacher that `limbeck train --friendly-to STUDENT` made"),
            Try("ce + ekd"),
        ),
        "targets are within the student's reach ([teachers.md](teachers.md))",
    ),
    Rule(
        "several teachers",
        CHOICE,
        lambda given: given.teacher == "several" and given.labels != "none",
        (
            Try(KD, options=ENSEMBLE),
            Try('0.1*ce + 0.9*dgkd(teachers=["small", "big"], temperature=4)'),
            Try('0.1*ce + 0.9*ceskd(teachers=["small", "big"])'),
        ),
        "they answer as one, or each by its name",
    ),
    Rule(
        "several teachers, no labels",
        CHOICE,
        lambda given: given.teacher == "several" and given.labels == "none",
        (
            Try("kd", options=ENSEMBLE),
            Try('dgkd(teachers=["small", "big"])'),
        ),
        "they answer as one, or each by its name",
    ),
    Rule(
        "no teacher",
        CHOICE,
        _untaught,
        (Try("label_smoothing"), Try("dml"), Try("one")),
        "label smoothing takes no time, and a peer that of one more student",
    ),
    Rule(
        "several labels a sample, words or pixels",
        SCORED,
        _taught,
        (Try("0.5*ce + 0.5*kd(temperature=2)"),),
        "each decision is taught as a classifier's; the teacher's answers alone suffice where no label is",
    ),
    Rule(
        "several labels a sample, words or pixels, several teachers",
        SCORED,
        lambda given: given.teacher == "several",
        (Try("0.5*ce + 0.5*kd(temperature=2)", options=ENSEMBLE),),
        "they answer as one",
    ),
    Rule(
        "segmentation, a teacher as a network",
        ("segmentation",),
        lambda given: given.teacher == "network",
        (Try("ce + 3*cwd"), Try("ce + 10*kd(temperature=1) + 10*pairwise")),
        "where in an image a class is matters as much as which class a pixel has",
    ),
    Rule(
        "several labels a sample, words or pixels, no teacher",
        SCORED,
        _untaught,
        (Try("ce"), Try("focal")),
        "`focal` gives less weight to samples that are right already, for rare classes",
    ),
    Rule(
        "detection",
        ("detection",),
        lambda given: given.teacher in ("network", "logits", "embeddings") and given.labels != "none",
        (
            Try("fcos + kd(temperature=1) + giou"),
            Try("fcos + masked_generative"),
            Try("fcos + pseudo_boxes"),
        ),
        "classes and boxes are taught, or the maps they are read from; `pseudo_boxes` takes what a detector "
        "of any package finds for labels ([detection.md](detection.md))",
    ),
    Rule(
        "detection, no labels",
        ("detection",),
        lambda given: given.teacher == "network" and given.labels == "none",
        (Try("pseudo_boxes"),),
        "the objects that the teacher finds are the labels",
    ),
    Rule(
        "detection, several teachers",
        ("detection",),
        lambda given: given.teacher == "several",
        (Try('mtpd(fcos + masked_generative, teachers=["near", "strong"])'),),
        "one after the other, from the nearest to the strongest",
    ),
    Rule("detection, no teacher", ("detection",), _untaught, (Try("fcos"),), "it is the detector's own loss"),
    Rule(
        "super-resolution",
        ("restoration",),
        lambda given: given.teacher == "network",
        (Try('0.5*mae + 0.5*imitation(loss="l1")'), Try("mae + 0.1*metakd_sr")),
        "the teacher's image is a second target ([super-resolution.md](super-resolution.md))",
    ),
    Rule(
        "super-resolution, no teacher",
        ("restoration",),
        _untaught,
        (Try("mae"),),
        "papers on super-resolution train with it",
    ),
    Rule(
        "values",
        ("regression",),
        _taught,
        (Try("0.5*mse + 0.5*imitation"), Try("huber + 0.5*bounded")),
        "`bounded` follows the teacher only where the student is not better",
    ),
    Rule(
        "values, no teacher",
        ("regression",),
        _untaught,
        (Try("mse"), Try("huber")),
        "`huber` gives outliers less weight",
    ),
    Rule(
        "search, an encoder as the teacher",
        ("retrieval",),
        lambda given: given.teacher in ("network", "embeddings"),
        (Try("cosine"), Try("contrastive + embeddistill"), Try("matryoshka(cosine, dims=[64])")),
        "embeddings need no judgment, and any texts will do ([retrieval.md](retrieval.md))",
    ),
    Rule(
        "search, scores of pairs as the teacher",
        ("retrieval",),
        lambda given: given.teacher in ("logits", "answers"),
        (Try("margin_mse"), Try("listwise")),
        "a cross-encoder has no embedding",
    ),
    Rule(
        "search, no teacher",
        ("retrieval",),
        _untaught,
        (Try("contrastive"),),
        "the other documents of the batch are the negatives",
    ),
    Rule(
        "similarity of texts",
        ("similarity",),
        lambda given: given.teacher in ("network", "embeddings"),
        (Try("cosine"), Try("embedding_mse")),
        "embeddings need no score",
    ),
    Rule(
        "similarity of texts, no teacher",
        ("similarity",),
        _untaught,
        (Try("cosent"),),
        "it learns the order of the scored pairs",
    ),
    Rule(
        "a language model",
        ("language",),
        _taught,
        (Try("0.5*ce + 0.5*kd(temperature=1)"),),
        "a cache or a file of the teacher's most probable tokens suffices",
    ),
    Rule(
        "a language model that can be asked while its student learns",
        ("language",),
        lambda given: given.teacher == "network",
        (Try('on_policy(kd(temperature=1, divergence="jsd"))'), Try("seqkd(ce)")),
        "the student learns on what it writes itself, or from what the teacher writes "
        "([language-models.md](language-models.md))",
    ),
    Rule("a language model, no teacher", ("language",), _untaught, (Try("ce"),), "this is fine-tuning"),
)
