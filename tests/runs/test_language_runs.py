"""Language models through the third door: trained, distilled, resumed, measured, reported and exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command

import limbeck
from interrupting import interrupted_after
from language_models import MARKED, llama, stories, tokens, write_rows, write_stories
from limbeck import data
from limbeck.data.language.tokenizer import learned
from limbeck.errors import LimbeckError
from limbeck.features import call
from limbeck.models import GPT
from limbeck.outputs import Outputs
from limbeck.runs import Run
from limbeck.runs.exporting import export
from limbeck.runs.language import check_causal
from pretrained_folders import bert
from shared_data import DATA, needs_data

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
STUDENT = "gpt(dim=16, depth=1, heads=2)"
SETTINGS = {"training.trackers": [], "training.optimizer": {"name": "adamw"}, "training.precision": "fp32"}
FAST: dict[str, Any] = {"epochs": 2, "batch_size": 4, "lr": 1e-2, "settings": SETTINGS, "display": False}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = write_stories(tmp_path_factory.mktemp("texts"))
    return f'language(path="{file}", separator="\\n\\n", block=16)'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("pretrained") / "llama")


@pytest.fixture(scope="module")
def teacher(folder: Path, texts: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that fine-tuned the folder."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    return limbeck.train(model=f"hf:{folder}", data=texts, out=out, **{**FAST, "epochs": 6})


def distilled(teacher: Run, texts: str, out: Path, **given: Any) -> Run:
    return limbeck.distill(
        **{"student": STUDENT, "teacher": teacher, "data": texts, "out": out, **FAST, **given}
    )


def test_a_folder_is_fine_tuned(teacher: Run, texts: str) -> None:
    metrics = teacher.result.metrics.on("test")
    assert metrics["nll"] < 2.5  # 5.7 for 300 tokens alike
    assert metrics["perplexity"] == pytest.approx(2.718281828 ** metrics["nll"])
    assert 0 < metrics["bits_per_byte"] < metrics["nll"]
    assert teacher.result.data.outputs == 300
    record = json.loads((teacher.path / "result.json").read_text())
    assert record["task"] == {"name": "language", "vocab_size": 300, "end": 0}
    assert (teacher.path / "tokenizer" / "tokenizer.json").is_file()
    assert limbeck.evaluate(teacher).student.metrics == metrics
    assert isinstance(limbeck.load(teacher), transformers.LlamaForCausalLM)


def test_a_student_of_another_kind_reads_its_teachers_tokens(
    teacher: Run, texts: str, tmp_path: Path
) -> None:
    run = distilled(teacher, texts, tmp_path / "runs" / "student", baseline="auto")
    assert isinstance(limbeck.load(run), GPT)
    result = run.result
    assert result.objective == "0.5*ce + 0.5*kd(temperature=1)"
    assert result.agreement is not None
    assert result.alone is not None
    assert result.alone.objective == "ce"
    assert result.metrics.on("test")["nll"] < 4
    found = limbeck.evaluate(run)
    assert found.agreement is not None
    assert found.agreement.distance > 0
    assert set(found.networks) == {"student", "teacher", "baseline"}
    assert found.networks["teacher"].metrics == teacher.result.metrics.test
    assert found.written is not None
    assert set(found.written.texts) == {"student", "teacher", "baseline"}
    assert all(len(texts) == len(found.written.beginnings) == 4 for texts in found.written.texts.values())
    page = (run.path / "report.html").read_text()
    assert "What the networks write" in page
    assert "NLL by length of the context" in page
    card = (run.path / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "a score for each of the 300 tokens" in card


@pytest.mark.parametrize("student", [STUDENT, "layers"])
def test_a_folder_for_transformers_has_the_same_logits(
    student: str, teacher: Run, folder: Path, texts: str, tmp_path: Path
) -> None:
    spec = f"hf:{folder}(layers=1)" if student == "layers" else student
    run = distilled(teacher, texts, tmp_path / "run", student=spec, epochs=1)
    exported = export(run, "hf")
    assert exported.lines[:2] == (
        "a folder for LlamaForCausalLM.from_pretrained",
        "its tokenizer is beside it",
    )
    made = transformers.AutoModelForCausalLM.from_pretrained(exported.file)
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported.file)
    inputs = tokenizer(stories(3, seed=9), padding=True, return_tensors="pt")
    with torch.no_grad():
        ours: Any = limbeck.load(run)(**inputs)
        ours, theirs = ours if isinstance(ours, torch.Tensor) else ours.logits, made(**inputs).logits
    there = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours[there], theirs[there], rtol=0, atol=1e-5)
    assert made.generation_config.eos_token_id == tokenizer.eos_token_id == 0
    assert 'pipeline("text-generation"' in (exported.file / "README.md").read_text()
    with pytest.raises(
        LimbeckError, match="is exported with its tokenizer as hf, or as safetensors, and not as"
    ):
        export(run, "onnx")


def test_texts_of_different_lengths_are_compared_without_their_padding(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} Who saw it?", "response": text} for n, text in enumerate(stories(40))]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    given = {**FAST, "epochs": 1, "model": STUDENT, "data": f'language(path="{file}")'}
    exported = export(limbeck.train(out=tmp_path / "run", **given), "hf")
    assert "all decisions are the same" in exported.lines[-1]


def test_a_gpt_that_is_no_llama_is_no_folder_for_transformers(texts: str, tmp_path: Path) -> None:
    model = 'gpt(dim=8, depth=1, heads=2, feed="gelu")'
    run = limbeck.train(model=model, data=texts, out=tmp_path / "run", **{**FAST, "epochs": 1})
    with pytest.raises(LimbeckError, match="transformers has no network like this gpt"):
        export(run, "hf")


def test_a_network_that_looks_ahead_is_found_out_by_its_longest_example() -> None:
    class Sum(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            total = (input_ids * attention_mask).sum(1, keepdim=True).expand_as(input_ids)
            return total.unsqueeze(-1).float() * torch.arange(9)

    example = {
        "input_ids": torch.tensor([[1, 2, 0, 0], [3, 4, 5, 0]]),
        "attention_mask": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]),
    }
    with pytest.raises(LimbeckError, match="it predicts from later tokens too"):
        check_causal(Sum(), example, "it", 9)
    check_causal(GPT(8, 1, 2, vocab_size=9), example, "it", 9)


@pytest.mark.parametrize("lora", [False, True])
def test_an_interrupted_run_ends_as_one_that_was_not(
    lora: bool, teacher: Run, folder: Path, texts: str, tmp_path: Path
) -> None:
    if lora:
        pytest.importorskip("peft", reason="peft is not installed")
    adapters = {"student.lora": {"r": 2, "dropout": 0.1}} if lora else {}
    given: dict[str, Any] = {
        "student": f"hf:{folder}(layers=2)" if lora else "gpt(dim=16, depth=1, heads=2, dropout=0.1)",
        "teacher": teacher,
        "data": texts,
        **FAST,
        "epochs": 3,
        "settings": {**SETTINGS, **adapters},
    }
    whole = limbeck.distill(out=tmp_path / "whole", **given)
    with interrupted_after(2):
        limbeck.distill(out=tmp_path / "parts", **given)
    parts = limbeck.distill(out=tmp_path / "parts", resume=True)
    files = [(run.path / "student.safetensors").read_bytes() for run in (whole, parts)]
    assert files[0] == files[1]
    assert whole.result.metrics == parts.result.metrics


def test_the_pieces_of_a_batch_change_no_weight(teacher: Run, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} Who saw it?", "response": text} for n, text in enumerate(stories(40))]
    file = write_rows(tmp_path / "rows.jsonl", rows)  # of which each has another number of tokens in the loss
    weights = []
    for pieces in (1, 3):
        settings = {**SETTINGS, "training.optimizer": {"name": "sgd"}, "training.accumulation": pieces}
        texts = f'language(path="{file}", block=64)'
        given = {"settings": settings, "epochs": 1, "batch_size": 8, "lr": 0.1}
        run = distilled(teacher, texts, tmp_path / str(pieces), **given)
        weights.append(limbeck.load(run).state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-6)


def test_only_the_adapters_of_a_student_learn(teacher: Run, folder: Path, texts: str, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    settings = {**SETTINGS, "student.lora": {"r": 2, "targets": ["q_proj", "v_proj"]}}
    run = distilled(teacher, texts, tmp_path / "run", student=f"hf:{folder}", settings=settings)
    before = transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict()
    after = limbeck.load(run).state_dict()
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {
        f"model.layers.{number}.self_attn.{name}_proj.weight" for number in range(3) for name in "qv"
    }
    state = torch.load(run.path / "checkpoints" / "last.pt", weights_only=True)["root"]
    assert any("lora_A" in key for key in state)


def test_padded_heads_are_cut_and_it_is_said(texts: str, tmp_path: Path) -> None:
    wide = llama(tmp_path / "wide", padded=20)
    other = llama(tmp_path / "other", padded=52, seed=1)
    run = limbeck.distill(
        student=f"hf:{wide}(layers=1)", teacher=f"hf:{other}", data=texts, out=tmp_path / "run",
        **{**FAST, "epochs": 1, "settings": {**SETTINGS, "teacher.trust": True}},
    )  # fmt: skip
    said = "outputs and the tokenizer 300 ids; the outputs beyond them are left out of losses and figures"
    assert f"the head of the student has 320 {said}" in run.result.notes
    assert f"the head of the teacher has 352 {said}" in run.result.notes
    assert run.result.data.outputs == 300
    assert limbeck.load(run).config.vocab_size == 320  # type: ignore[union-attr]


def refusal(texts: str, out: Path, **given: Any) -> str:
    with pytest.raises(LimbeckError) as caught:
        limbeck.distill(data=texts, out=out, **{**FAST, **given})
    assert not out.exists()
    return str(caught.value)


def test_networks_that_do_not_go_together_are_refused(
    folder: Path, teacher: Run, texts: str, tmp_path: Path
) -> None:
    words = [f"another {word} word" for word in "abcdefgh"] * 4
    other = llama(tmp_path / "other", reads=learned(words, 300))
    told = refusal(texts, tmp_path / "a", student=f"hf:{other}", teacher=f"hf:{folder}")
    assert f"the teacher reads the tokens of {folder}" in told
    assert "another tokenizer: of " in told
    narrow = llama(tmp_path / "narrow", padded=-20)
    told = refusal(texts, tmp_path / "b", student=STUDENT, teacher=f"hf:{narrow}")
    assert "the teacher knows 280 token ids, and language(" in told
    assert "has a vocabulary of 300 tokens" in told
    encoder = bert(tmp_path / "encoder")
    told = refusal(texts, tmp_path / "c", student=STUDENT, teacher=f"hf:{encoder}")
    assert "is a BertModel, and a language model that predicts the next token is needed" in told
    long = texts.replace("block=16", "block=100")
    told = refusal(long, tmp_path / "d", student=STUDENT, teacher=f"hf:{folder}")
    assert "the teacher reads at most 64 tokens at once" in told
    assert "rows of 100; set block=64" in told


def test_an_encoder_of_ones_own_is_refused(texts: str, tmp_path: Path) -> None:
    class Encoder(torch.nn.Module):
        """Sees the mean of all tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = torch.nn.Embedding(300, 8), torch.nn.Linear(8, 300)

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor
        ) -> Any:
            states = self.embedding(input_ids)
            return self.head(states + states.mean(1, keepdim=True))

    source = data.load(texts, tokens=tokens)
    with pytest.raises(LimbeckError, match="the student predicts from later tokens too, as an encoder does"):
        limbeck.train(model=Encoder(), data=source, out=tmp_path / "run", **FAST)


def test_prompts_and_chats_are_learned_from(folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Who saw the {thing}?", "response": "Tim saw it."} for thing in ["ball", "cat"] * 20]
    file = write_rows(
        tmp_path / "rows.jsonl", [{**row, "prompt": f"{n} {row['prompt']}"} for n, row in enumerate(rows)]
    )
    for pack in ("false", "true"):
        run = limbeck.train(
            model=f"hf:{folder}", data=f'language(path="{file}", block=32, pack={pack})',
            out=tmp_path / pack, **{**FAST, "epochs": 4},
        )  # fmt: skip
        assert run.result.metrics.on("test")["nll"] < 1
        assert any("% of the training tokens are in the loss" in note for note in run.result.notes)


def test_a_chat_is_learned_and_its_template_goes_along(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama", reads=tokens(MARKED))
    chats = [
        {"messages": [{"role": "user", "content": f"{n} Who?"}, {"role": "assistant", "content": "Tim."}]}
        for n in range(40)
    ]
    file = write_rows(tmp_path / "chats.jsonl", chats)
    run = limbeck.train(
        model=f"hf:{folder}",
        data=f'language(path="{file}", block=64)',
        out=tmp_path / "run",
        **{**FAST, "epochs": 4},
    )
    assert run.result.metrics.on("test")["nll"] < 1
    found = limbeck.evaluate(run).written
    assert found is not None
    assert found.beginnings[0].endswith("Who?<|assistant|>")
    exported = export(run, "hf")
    assert "its tokenizer is beside it, with the chat template" in exported.lines
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported.file)
    assert tokenizer.apply_chat_template(chats[0]["messages"], tokenize=False).startswith("<|user|>0 Who?")


def test_packing_changes_no_figure(teacher: Run, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} Who saw it?", "response": text} for n, text in enumerate(stories(60))]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    found = [
        limbeck.evaluate(teacher, f'language(path="{file}", block=64, pack={pack})')
        for pack in ("true", "false")
    ]
    assert found[0].samples < found[1].samples
    for name, value in found[1].student.metrics.items():
        assert found[0].student.metrics[name] == pytest.approx(value, rel=1e-5)


def test_the_command_line_takes_a_file_for_the_task(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("\n".join(stories(120)))
    monkeypatch.chdir(tmp_path)
    options = ["--epochs", "1", "--set", "training.optimizer.name=adamw", "--set", "training.trackers=[]"]
    answer = command(
        "train", "--model", STUDENT, "--data", "corpus.txt", "--task", "language", "--out", "run", *options
    )
    assert answer.code == 0, answer.err
    assert "perplexity on test" in answer.out
    assert Run(tmp_path / "run").config.data.name == 'language(path="corpus.txt")'
    shutil.rmtree(tmp_path / "run")
    for given, told in (
        (("--data", "digits", "--task", "language"), "the data set digits is not for the task language"),
        (
            ("--data", "grades.csv", "--task", "regression"),
            'say what it holds, table(path="grades.csv", task=',
        ),
        (("--task", "language"), "goes with the data"),
    ):
        refused = command("train", "--model", STUDENT, "--out", "run", *given)
        assert refused.code == 2
        assert told in refused.err
    assert not (tmp_path / "run").exists()


@needs_data
def test_a_real_network_has_its_documented_loss(tmp_path: Path) -> None:
    text = (DATA / "language" / "tinystories_excerpt" / "tinystories.txt").read_text(encoding="utf-8")
    parts = [
        f"Once upon a time{part}".replace("\n\n", "\n").strip() for part in text.split("Once upon a time")[1:]
    ]
    folder = DATA / "models" / "stories260k" / "hf"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    short = [part for part in parts if part.isascii() and len(tokenizer(part)["input_ids"]) <= 400]
    file = write_rows(tmp_path / "stories.jsonl", [{"text": part} for part in short])
    network = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    source = data.load(f'language(path="{file}", tokenizer="{folder}", block=512, pack=false, end=false)')
    meter = source.task.meter()
    for split in (source.train, source.validation, source.test):
        assert split is not None
        for batch in data.Loader(split, 8, shuffle=False):
            with torch.no_grad():
                meter.update(Outputs(logits=call(network, batch.inputs).logits), batch)
    found = meter.findings()  # type: ignore[attr-defined]
    losses = 0.0
    for part in short:
        ids = torch.tensor([tokenizer(part)["input_ids"]])
        with torch.no_grad():
            losses += float(network(ids, labels=ids).loss) * (ids.shape[1] - 1)
    assert found.nll == pytest.approx(losses / found.tokens, abs=1e-5)
    assert 1.27 <= found.nll <= 1.35  # documented: 1.2968 on stories of its own validation data
    assert found.bytes == sum(len(part.encode()) for part in short)
