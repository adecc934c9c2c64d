"""Records what a checkout computes: short seeded runs through its command line, value by value.

python tests/golden/record.py --out record.json [--only NAME ...] [--src CHECKOUT]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Values: TypeAlias = dict[str, Any]
"""What one run came to: leaves by dotted key."""

Record: TypeAlias = dict[str, Values]
"""Values by the name of the run."""

VOLATILE = frozenset(
    {"seconds", "latency", "throughput", "peak_bytes", "machine", "device", "version", "run"}
)
"""Names of fields that hold times, memory, the machine, versions and paths; they are left out."""

HERE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes:
        command: of limbeck; `evaluate` measures the run that is named last in `needs`.
        arguments: of the command, besides those that all runs have.
        needs: the runs that must be there first; a distillation's teacher is among them.
        precision: of the networks.
        killed: whether the run is killed after its first checkpoint, and resumed.
    """

    command: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    precision: str = "fp32"
    killed: bool = False


def train(*arguments: str, precision: str = "fp32") -> Plan:
    """A run without a teacher."""
    return Plan("train", arguments, precision=precision)


def distill(
    objective: str,
    *arguments: str,
    student: str = "cnn(channels=[4, 8])",
    teacher: str | None = "teacher",
    needs: tuple[str, ...] = (),
    killed: bool = False,
) -> Plan:
    """A distillation, from the recorded teacher unless there is none."""
    given = ("--objective", objective, "--student", student)
    taught = () if teacher is None else ("--teacher", f"runs/{teacher}")
    return Plan(
        "distill", (*given, *taught, *arguments), (*needs, *([teacher] if teacher else [])), killed=killed
    )


NONE = ("--baseline", "none")
"""What leaves the student alone out, in checkouts that would train it too."""

CACHED = ("--cache-teacher", "logits", "--views", "2")
MANY = (
    "ce + dkd + dist + 10*fitnet + 10*at + ab(epochs=1) + 0.001*ofd + ft(epochs=1) + vid"
    " + 10*afd(regressor=true) + reviewkd + nst + 10*sp + 0.02*cc + rkd + 100*pkt + rrd + srrl + tfkd"
    " + label_smoothing"
)
PLANS: dict[str, Plan] = {
    "teacher": train("--model", "cnn(channels=[8, 16])", "--objective", "ce"),
    "auto": train("--model", "resnet8", "--epochs", "1", precision="auto"),
    "kd": distill("0.1*ce + 0.9*kd(temperature=4)"),
    "kd_cold": distill("ce + kd(temperature=4)", *CACHED),
    "kd_warm": distill("ce + kd(temperature=4)", *CACHED, needs=("kd_cold",)),
    "icd": distill("ce + kd + icd(dim=16)"),
    "mgd": distill("mgd(ce + 100*fitnet, epochs=1)"),
    "mgd_stable": distill('mgd(0.2*ce + 0.8*kd, scheme="stable", epochs=1)', needs=("mgd",)),
    "lwkd": distill(
        '0.9*ce + lwkd(profile="faithful", epochs=3, lr=0.005, images_per_class=100, bank_size=10)',
        teacher=None,
    ),
    "crd": distill("ce + 0.8*crd(size=64, dim=16)"),
    "dml": distill("dml", teacher=None),
    "simkd": distill("simkd"),
    "dot": distill("dot(0.1*ce + 0.9*kd)"),
    "many": distill(MANY, "--lr", "0.01", "--set", "data.views=crop(padding=1) + cutout(size=2)"),
    "text": train(
        *("--model", "textcnn(dim=16, channels=8)", "--data", "text(vocab_size=300)"),
        *("--data-dir", "texts", "--batch-size", "16"),
    ),
    "table": train(
        *("--model", "mlp(hidden=[8])", "--data", "wine", "--batch-size", "16"),
        *("--lr", "0.01", "--set", "training.optimizer.name=adam"),
    ),
    "noisy": distill(
        "ce + kd",
        *("--data", "noisy_labels(digits(LABELED=200), rate=0.3)", "--set", "teacher.labels=clean"),
        student="mlp(hidden=[16])",
    ),
    "validation": distill(
        "ce + label_smoothing",
        *("--set", "training.selection=validation", "--set", "training.clip=1.0"),
        *("--set", "training.accumulation=2", "--set", "training.schedule={name: one_cycle}"),
        teacher=None,
    ),
    "resumed": distill("ce + kd + crd(size=64, dim=16)", "--epochs", "25", killed=True),
    "full": Plan(
        "evaluate",
        ("--suite", "full", "--noise-samples", "100", "--baseline", "runs/dml", "--device", "cpu"),
        ("teacher", "dml", "kd"),
    ),
}
"""The runs by name; one that needs another comes after it. LABELED stands for the checkout's spelling.

`kd_warm` reads the teacher's answers that `kd_cold` has kept, `mgd_stable` the analyzers that `mgd` trained.
"""


class Recorder:
    """Runs plans with a checkout's limbeck, in a folder of its own.

    Args:
        checkout: the root of the repository's files.
        folder: an empty one, where the runs go.
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(checkout.resolve() / "src"),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "LIMBECK_CACHE": str(folder / "cache"),
        }
        found = self._python("-c", "import limbeck; print(limbeck.__file__)").strip()
        if not Path(found).is_relative_to(checkout.resolve()):
            raise SystemExit(f"the runs would import {found}, which is not in {checkout}")
        self.alone = () if "--baseline" not in self._python("-m", "limbeck", "distill", "--help") else NONE
        shown = re.search("labell?ed", self._python("-m", "limbeck", "data", "digits"))
        self.labeled = shown[0] if shown else "labeled"
        write_texts(folder / "texts" / "train.csv")

    def values(self, name: str) -> Values:
        """Makes the run, and reads what it came to."""
        plan = PLANS[name]
        run = Path("runs") / (plan.needs[-1] if plan.command == "evaluate" else name)
        before = self._cached()
        self._make(plan, run)
        found = {"cache": {"changed": self._cached() != before}, **read_run(self.folder / run)}
        return dict(flat(found["evaluation"], "evaluation.") if plan.command == "evaluate" else flat(found))

    def _make(self, plan: Plan, run: Path) -> None:
        arguments = [each.replace("LABELED", self.labeled) for each in plan.arguments]
        if plan.command == "evaluate":
            self._python("-m", "limbeck", "evaluate", str(run), *arguments)
            return
        usual = {"--epochs": "2", "--lr": "0.05", "--seed": "3"}
        flags = [each for pair in usual.items() if pair[0] not in arguments for each in pair]
        settings = ("training.trackers=[]", "training.device=cpu", f"training.precision={plan.precision}")
        flags += [each for setting in settings for each in ("--set", setting)]
        flags += self.alone if plan.command == "distill" else ()
        command = ("-m", "limbeck", plan.command, *arguments, *flags, "--out", str(run))
        if plan.killed:
            self._kill(command, self.folder / run)
            command = ("-m", "limbeck", plan.command, "--resume", "--out", str(run))
        self._python(*command)

    def _python(self, *arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if ended.returncode:
            raise SystemExit(f"{' '.join(arguments)}\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def _kill(self, command: Iterable[str], run: Path) -> None:
        """Starts a command, and kills it as soon as its run has a checkpoint."""
        with subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while not (run / "checkpoints" / "last.pt").exists() and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL or (run / "result.json").exists():
            raise SystemExit(f"{run.name} ended with {process.returncode} before it was killed")

    def _cached(self) -> dict[str, str]:
        """Digests of the files with a teacher's answers."""
        files = sorted((self.folder / "cache" / "teachers").glob("*"))
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def write_texts(path: Path) -> None:
    """Writes 300 short texts of three classes, the same every time."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioubdklmnrst", k=draw.randint(3, 7))) for _ in range(60)]
    lines = ["text,label"]
    for row in range(300):
        own = words[15 * (row % 3) : 15 * (row % 3) + 15]
        text = " ".join(
            draw.choice(own if draw.random() < 0.4 else words) for _ in range(draw.randint(4, 12))
        )
        lines.append(f"{text},{('red', 'green', 'blue')[row % 3]}")
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_run(run: Path) -> dict[str, Any]:
    """A run's weights, history and figures."""
    history = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "weights": tensors(run / "student.safetensors"),
        "metrics": [json.loads(line) for line in history],
        "result": json.loads((run / "result.json").read_text(encoding="utf-8")),
        "evaluation": json.loads((run / "evaluation.json").read_text(encoding="utf-8")),
    }


def tensors(path: Path) -> dict[str, str]:
    """Type, shape and digest of each tensor in a safetensors file, whatever its order and metadata."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    found = {}
    for name, tensor in sorted(header.items()):
        first, last = tensor["data_offsets"]
        digest = hashlib.sha256(data[start + first : start + last]).hexdigest()
        found[name] = f"{tensor['dtype']} {tensor['shape']} {digest}"
    return found


def flat(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings and lists by dotted key; an empty one is a leaf."""
    if isinstance(value, (Mapping, list)) and value:
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            if key not in VOLATILE:
                yield from flat(inner, f"{above}{key}.")
    else:
        yield above.removesuffix("."), value


def record(checkout: Path, only: Iterable[str] = ()) -> Record:
    """Makes the runs, all or some with those that they need, and reads what each came to."""
    wanted = set(only) or set(PLANS)
    for name in reversed(PLANS):  # what is needed comes before what needs it
        if name in wanted:
            wanted |= set(PLANS[name].needs)
    found: Record = {}
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(checkout, Path(folder))
        for name in (name for name in PLANS if name in wanted):
            started = time.monotonic()
            found[name] = recorder.values(name)
            print(f"{checkout}: {name}, {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Records what a checkout computes.")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--only", nargs="+", choices=PLANS, default=[], help="these runs and what they need")
    parser.add_argument("--src", type=Path, default=HERE, help="the checkout; this one if left out")
    given = parser.parse_args()
    given.out.write_text(json.dumps(record(given.src, given.only), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
