"""Method, one paper; and Objective, a weighted sum of methods, itself a method."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from limbeck.arguments import checked_arguments
from limbeck.errors import LimbeckError
from limbeck.methods.declarations import NOTHING, Claim, Context, LossTerms, Networks, Phase, Reads
from limbeck.methods.gradient_rules import GradientRule
from limbeck.methods.parts.answered import of_answered
from limbeck.methods.parts.blocks import full_precision
from limbeck.methods.terms import Kind, Per, Term
from limbeck.notation import show, weighted
from limbeck.outputs import Batch, Outputs
from limbeck.sides import Side


class Method(nn.Module):
    """One way of distilling: what it reads, the parts it trains, and its loss.

    A subclass sets `reads` (here or in its constructor), may build trainable parts in `bind`, and returns
    its loss from `forward`, as a scalar or as named scalars. Everything else has a default. The
    constructor takes the paper's hyper-parameters by keyword, and other objectives, if it wraps any, by
    position; `str()` writes the call back as it was given.

    Class attributes:
        name: in the notation; the lower-case class name unless set.
        kind: of the terms it returns as bare tensors.
        reads: what it needs.
        recipe: the paper's recommended mix, in the notation.
        min_samples: the smallest batch it is defined for; 2 if it compares samples.
        min_together: the fewest samples that have to belong together in a batch, such as a query with a
            relevant document and one that is not.
        from_pairs: whether a teacher can teach it that scores queries with their candidates and embeds no
            text alone, a cross-encoder.
        rows: the tasks it serves: those whose rows choose among "classes", those whose rows are "values",
            those whose rows are embeddings, "vectors", or "any".
        tasks: the names of the only tasks that it serves; empty for all that have such rows.
        ranks: whether it compares queries with their documents, which a task has that is `ranked`.
        also: further kinds of rows that it serves beside `rows`.
        one_row_per_sample: whether it is for tasks alone that decide once for each sample.
        relates: whether it relates rows to each other; where a batch has very many, it then sees a draw.
        row_wise: whether its loss is a mean of what each row gives by itself, so that it can leave out the
            rows for which a file of answers has none.
        retold: whether it learns from a teacher that reads a text in other tokens than the student, see
            `limbeck.retold`.
        partial: whether it learns from answers that do not tell every class apart: labels, votes, and
            probabilities of some classes, see `Outputs.known`.
        ranked: whether it learns from answers that tell the most probable classes apart and the sum of all
            others, as the cache of a language model has them, and takes them as `limbeck.ranked.Ranked` in
            `teacher["ranked"]` where there are no logits; what is `partial` learns from them as logits.
        of_objects: whether it learns from which objects a detector finds, and not from what it says at places
            that the student has too.
        per: what its loss is a mean over, the rows of the batch or its samples.
        fits_labels: whether it has terms of the kind "task"; what is itself of that kind does, and what wraps
            others does not for theirs.
        weighs: whether these are means weighted by the `weights` of the batch, see
            `limbeck.methods.parts.weighting.row_mean`; if not, it is refused where samples have weights.
        unlabeled: whether it learns from samples without a label too, although it reads targets.
        phases_only: whether it is over when training begins: nothing is read for it then, and its `forward`
            gives no term.
        alters_teacher: whether what it wraps sees other features of the teacher than those of each sample, of
            which a cache keeps nothing.
        views_together: whether the student takes the samples and their further views in one forward, so that
            its batch norms see all of them at once; otherwise each view is a forward.
        makes_alike: whether the further views that it makes follow from the samples alone, so that two of it
            make the same.
        exchanges: whether its `collect` gives all methods other samples than those of the data, so that it
            wraps the whole objective.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "distillation"
    reads: Reads = Reads()
    recipe: ClassVar[str | None] = None
    min_samples: int = 1
    min_together: int = 1
    from_pairs: bool = False
    phases_only: ClassVar[bool] = False
    alters_teacher: ClassVar[bool] = False
    views_together: ClassVar[bool] = False
    makes_alike: ClassVar[bool] = False
    exchanges: ClassVar[bool] = False
    rows: ClassVar[Literal["any", "classes", "values", "vectors"]] = "any"
    also: ClassVar[tuple[Literal["classes", "values", "vectors"], ...]] = ()
    tasks: ClassVar[tuple[str, ...]] = ()
    ranks: ClassVar[bool] = False
    one_row_per_sample: ClassVar[bool] = False
    relates: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    retold: ClassVar[bool] = False
    partial: bool = False
    ranked: ClassVar[bool] = False
    of_objects: ClassVar[bool] = False
    per: ClassVar[Per] = "rows"
    fits_labels: ClassVar[bool] = False
    weighs: ClassVar[bool] = False
    unlabeled: bool = False

    teacher_name: str | None = None
    """Which of several teachers it learns from, written `kd(teacher="big")`; None for the one it is given."""
    sides: tuple[Side, ...] = ()
    """What a cache is to keep of its teacher's stages and further outputs; set in `bind`. The method reads a
    field that has sides here by `Side.of` alone."""
    given: Mapping[str, Any]
    """The constructor's arguments as they were given, by name (those of a * parameter as a tuple)."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()
        construct = cls.__init__
        names_teacher = "teacher" in inspect.signature(construct).parameters

        @wraps(construct)
        def checked(self: Method, *args: Any, **kwargs: Any) -> None:
            chosen: dict[str, Any] = {}
            if type(self) is cls and "teacher" in kwargs and not names_teacher:
                chosen = {"teacher": kwargs.pop("teacher")}
                if not isinstance(chosen["teacher"], str):
                    raise LimbeckError(f"{cls.name}: teacher is the name of one, not {chosen['teacher']!r}")
            if type(self) is cls:  # in __dict__ directly: nn.Module's own bookkeeping starts in its __init__
                self.__dict__["given"] = checked_arguments(cls.name, construct, args, kwargs) | chosen
                self.__dict__["teacher_name"] = chosen.get("teacher")
            construct(self, *args, **kwargs)

        cls.__init__ = checked  # type: ignore[method-assign]

    def __init__(self) -> None:
        super().__init__()

    def bind(self, context: Context) -> None:
        """Builds the trainable parts for these networks. Called once; wrapped methods are bound before."""

    def phases(self) -> Sequence[Phase]:
        """What to train before training; wrapped methods' phases run before."""
        return ()

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        """The batch that all methods then learn from: the one given, another, or one with further views.

        It is called before any network computes, without gradient, in training and evaluation alike. Inputs
        that are not those of `index` and `view` need `view=None`, so that no cached answer is taken for
        theirs; the further views that are made here are named in `reads.makes`.

        Args:
            batch: as the loader gave it, or the method before this one made it: targets as the task has them.
            networks: student and teachers, to be asked for what the batch is made from.
        """
        return batch

    def claims(self) -> Sequence[Claim]:
        """Parts that learn by an optimizer of their own."""
        return ()

    def gradient_rule(self) -> GradientRule | None:
        """What makes another optimizer of the user's, one that sees distillation's gradient apart."""
        return None

    def deploy(self, student: nn.Module) -> nn.Module:
        """The network to ship; the student itself unless this or a wrapped method replaces part of it."""
        for method in self.wrapped:
            student = method.deploy(student)
        return student

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The loss for one batch, unweighted; terms of wrapped methods come from their `terms`."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The loss as terms with full names: "kd", or "icd.contrast" where a method has several."""
        if self.teacher_name is not None and self.reads_in_training.teacher:
            teacher = teacher.named[self.teacher_name].replace(named=teacher.named)
        if self.relates:
            student, teacher, batch = related(student, teacher, batch)
        if self.row_wise and self.reads_in_training.teacher and teacher.answered is not None:
            given, share = of_answered(student, teacher, batch)
            terms = named(self.name, self(*given), self.kind, self.per)
            return {
                name: replace(term, value=term.value * share.to(term.value)) for name, term in terms.items()
            }
        return named(self.name, self(student, teacher, batch), self.kind, self.per)

    @property
    def wrapped(self) -> Iterator[Method]:
        """The methods directly inside this one."""
        return (child for child in self.children() if isinstance(child, Method))

    @property
    def all_reads(self) -> Reads:
        """What this method and all inside it read."""
        reads = self.reads
        for method in self.wrapped:
            reads = reads | method.all_reads
        return reads

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Method:
        # Losses are computed in float32, so the parts stay in it when the networks go to half precision.
        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            kept = full_precision(result) is result
            return result if kept else full_precision(tensor).to(result.device)  # without having been rounded

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def reads_in_training(self) -> Reads:
        """What it reads in training itself; a method that needs something in its phases alone says less."""
        return NOTHING if self.phases_only else self.reads

    def __mul__(self, weight: float) -> Objective:
        return Objective([(weight, self)])

    __rmul__ = __mul__

    def __add__(self, other: Method) -> Objective:
        if not isinstance(other, Method):
            return NotImplemented
        return Objective([(1.0, self), (1.0, other)])

    def __str__(self) -> str:
        inside: list[str] = []
        parameters = inspect.signature(type(self).__init__).parameters
        for name, value in self.given.items():
            if name not in parameters:  # the teacher, which every method may name
                inside.append(f"{name}={show(value)}")
            elif parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                inside += [show(item) for item in value]
            elif isinstance(value, Method) and parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY:
                inside.append(str(value))
            else:
                inside.append(f"{name}={show(value)}")
        return f"{self.name}({', '.join(inside)})" if inside else self.name


class Objective(Method):
    """A weighted sum of methods.

    Written `0.1*ce + 0.9*kd(temperature=4)` as text and `0.1 * CE() + 0.9 * KD(temperature=4)` in Python.
    Sums of sums are flattened, so a weight is always that of a single method.
    """

    reads = NOTHING

    def __init__(self, summands: Sequence[tuple[float, Method]]) -> None:
        super().__init__()
        self.weights: list[float] = []
        self.methods = nn.ModuleList()
        for weight, method in summands:
            for inner, part in method.summands if isinstance(method, Objective) else [(1.0, method)]:
                product = float(f"{weight * inner:.12g}")  # 0.1*(0.2*ce) is 0.02*ce
                if not 0 <= product < math.inf:
                    raise LimbeckError(f"a weight must be a finite number of at least 0, not {product:g}")
                self.weights.append(product)
                self.methods.append(part)
        if not self.weights:
            raise LimbeckError("an objective needs at least one term, for example ce")
        self.labels = _distinct([method.name for method in self._parts])

    @property
    def _parts(self) -> list[Method]:
        return [method for method in self.methods if isinstance(method, Method)]

    @property
    def summands(self) -> list[tuple[float, Method]]:
        """The methods with their weights."""
        return list(zip(self.weights, self._parts, strict=True))

    @property
    def wrapped(self) -> Iterator[Method]:
        """The summands."""
        return iter(self._parts)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of all summands, weighted; a repeated name gets a number."""
        return self.terms_of(self.labels, student, teacher, batch)

    def terms_of(
        self, labels: Collection[str], student: Outputs, teacher: Outputs, batch: Batch
    ) -> dict[str, Term]:
        """The same of some of the summands, by their labels."""
        return {
            label + name.removeprefix(method.name): term.scaled(weight)
            for label, (weight, method) in list(zip(self.labels, self.summands, strict=True))
            if label in labels
            for name, term in method.terms(student, teacher, batch).items()
        }

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The same terms, so that an objective can stand wherever a method can."""
        return self.terms(student, teacher, batch)

    def __str__(self) -> str:
        return " + ".join(weighted(weight, str(method)) for weight, method in self.summands)


def training_reads(method: Method) -> Reads:
    """What it and all inside it read in training itself, after the phases."""
    reads = NOTHING
    for part in inner_first(method):
        reads = reads | part.reads_in_training
    return reads


def inner_first(method: Method) -> Iterator[Method]:
    """A method with all that is inside it, what is wrapped before what wraps it."""
    return (part for part, _ in taught(method))


def taught(method: Method, given: str | None = None) -> Iterator[tuple[Method, str | None]]:
    """The same, each with the name of the teacher that it is given; None is the only one, or the first."""
    given = method.teacher_name or given
    for inner in method.wrapped:
        yield from taught(inner, given)
    yield method, given


def teachers_read(method: Method, *, of_training: bool = False) -> dict[str | None, tuple[str, ...]]:
    """The fields that it and all inside it read of each teacher, by name; None is the one that is given.

    Args:
        method: a method or an objective.
        of_training: leave out what is read in phases alone.
    """
    return _by_teacher(method, lambda reads: reads.teacher, of_training=of_training)


def views_read(method: Method) -> dict[str | None, tuple[str, ...]]:
    """The further views that it and all inside it read of each teacher in training, by name as above."""
    return _by_teacher(method, lambda reads: reads.further, of_training=True)


def sides_read(method: Method, first: str | None) -> dict[str, tuple[Side, ...]]:
    """What stands for fields of each teacher in training; a field that something reads without a side is not
    there.

    Args:
        method: a method or an objective.
        first: name of the teacher that a method is given which names none.
    """
    altered = {inner for outer in inner_first(method) if outer.alters_teacher for inner in inner_first(outer)}
    sides: dict[str, list[Side]] = {}
    whole: dict[str, set[str]] = {}
    for part, given in taught(method):
        reads = part.reads_in_training
        found = () if part in altered else part.sides
        for name in (reads.teachers or (given or first or "",)) if reads.teacher else ():
            sides.setdefault(name, []).extend(side for side in found if side.field in reads.teacher)
            whole.setdefault(name, set()).update(set(reads.teacher) - {side.field for side in found})
    return {
        name: tuple(dict.fromkeys(side for side in found if side.field not in whole[name]))
        for name, found in sides.items()
    }


def _by_teacher(
    method: Method, what: Callable[[Reads], tuple[str, ...]], *, of_training: bool
) -> dict[str | None, tuple[str, ...]]:
    found: dict[str | None, tuple[str, ...]] = {}
    for part, given in taught(method):
        reads = part.reads_in_training if of_training else part.reads
        for name in (reads.teachers or (given,)) if reads.teacher else ():
            found[name] = tuple(dict.fromkeys([*found.get(name, ()), *what(reads)]))
    return found


def related(student: Outputs, teacher: Outputs, batch: Batch) -> tuple[Outputs, Outputs, Batch]:
    """The rows that a method may relate to each other: all, unless the batch has a draw of them."""
    chosen = batch.related
    if chosen is None:
        return student, teacher, batch
    rows = batch.rows
    assert rows is not None

    def of(outputs: Outputs) -> Outputs:
        fields = {name: outputs[name][chosen] for name in ("logits", "embedding") if name in outputs}
        return outputs.replace(**fields)

    targets = None if batch.targets is None else batch.targets[chosen]
    return of(student), of(teacher), replace(batch, targets=targets, related=None)


def named(name: str, terms: LossTerms, kind: Kind, per: Per = "rows") -> dict[str, Term]:
    """Loss terms with their full names, each marked with what it is for and what it is a mean over."""
    if isinstance(terms, Tensor):
        return {name: Term(terms, kind, per=per)}
    return {
        f"{name}.{key}": term if isinstance(term, Term) else Term(term, kind, per=per)
        for key, term in terms.items()
    }


def _distinct(names: list[str]) -> list[str]:
    """The names, numbered from the second of a kind on: kd, kd_2."""
    return [
        name if names[:place].count(name) == 0 else f"{name}_{names[:place].count(name) + 1}"
        for place, name in enumerate(names)
    ]
