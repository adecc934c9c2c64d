from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.utils.checkpoint import checkpoint

from limbeck import models
from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Point, Tap, find
from limbeck.outputs import Outputs

IMAGES = torch.randn(4, 3, 16, 16)
ALL = ("embedding", "stages", "preactivations")


class Small(nn.Module):
    """Two stages with everything in place; the second may be checkpointed."""

    def __init__(self, checkpointed: bool = False) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.stage1 = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.stage2 = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(x)
        x = checkpoint(self.stage2, x, use_reentrant=False) if self.checkpointed else self.stage2(x)
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]

    def by_hand(self, x: Tensor) -> dict[str, list[Tensor]]:
        before1 = normalized(self.stage1[0](x), self.stage1[1])
        stage1 = before1.relu()
        before2 = normalized(self.stage2[0](stage1), self.stage2[1])
        return {"stages": [stage1, before2.relu()], "preactivations": [before1, before2]}


def normalized(x: Tensor, norm: nn.Module) -> Tensor:
    return F.batch_norm(
        x, None, None, norm.get_parameter("weight"), norm.get_parameter("bias"), training=True
    )


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def same(one: Outputs, other: Outputs) -> bool:
    return set(one) == set(other) and all(
        all(map(torch.equal, value, other[field]))
        if isinstance(value, tuple)
        else torch.equal(value, other[field])
        for field, value in one.items()
    )


@pytest.fixture
def network() -> Small:
    return Small().train()


@pytest.fixture
def points(network: Small) -> FeaturePoints:
    return find(network, IMAGES)


def test_features_are_those_of_the_forward_in_training_mode(network: Small, points: FeaturePoints) -> None:
    outputs = Tap(network, points, ALL)(IMAGES)
    by_hand = network.by_hand(IMAGES)
    for field in ("stages", "preactivations"):
        assert all(map(torch.equal, outputs[field], by_hand[field]))
    assert torch.equal(outputs.embedding, by_hand["stages"][1].mean((2, 3)))
    assert torch.equal(outputs.logits, network.fc(outputs.embedding))


def test_only_what_is_asked_for_is_captured(network: Small, points: FeaturePoints) -> None:
    assert set(Tap(network, points, ("stages",))(IMAGES)) == {"logits", "stages"}
    assert set(Tap(network, points, ("logits",))(IMAGES)) == {"logits"}


def test_logits_alone_need_no_hooks(network: Small, points: FeaturePoints) -> None:
    tap = Tap(network, points, ())
    tap.attach()
    assert hooks(network) == 0


def test_features_are_in_the_graph_as_autograd_sees_it(network: Small, points: FeaturePoints) -> None:
    outputs = Tap(network, points, ALL)(IMAGES)
    (outputs.stages[0].sum() + outputs.preactivations[1].square().sum()).backward()  # type: ignore[no-untyped-call]
    found = [parameter.grad for parameter in network.parameters()]
    by_hand = Small()
    by_hand.load_state_dict(network.state_dict())
    tensors = by_hand.by_hand(IMAGES)
    (tensors["stages"][0].sum() + tensors["preactivations"][1].square().sum()).backward()  # type: ignore[no-untyped-call]
    for grad, parameter in zip(found[:4], list(by_hand.parameters())[:4], strict=True):
        assert grad is not None
        assert parameter.grad is not None
        assert torch.allclose(grad, parameter.grad, atol=1e-4)
    assert network.fc.weight.grad is None


def test_a_tap_leaves_nothing_on_the_network(network: Small, points: FeaturePoints) -> None:
    tap = Tap(network, points, ALL)
    outputs = tap(IMAGES)
    assert hooks(network) == 0
    activations = [
        weakref.ref(outputs.stages[0]),
        weakref.ref(outputs.embedding),
        weakref.ref(outputs.logits),
    ]
    del outputs
    gc.collect()
    assert [activation() for activation in activations] == [None] * 3
    assert tap.network is network


def test_an_error_in_the_forward_leaves_nothing_either(network: Small, points: FeaturePoints) -> None:
    tap = Tap(network, points, ALL)
    with pytest.raises(RuntimeError):
        tap(torch.randn(4, 2, 16, 16))
    assert hooks(network) == 0
    assert all(capture.tensor is None and not capture.armed for capture in tap._captures)


def test_two_taps_share_a_network(network: Small, points: FeaturePoints) -> None:
    one, two = Tap(network, points, ALL), Tap(network, points, ("stages",))
    one.attach()
    two.attach()
    first, second = one(IMAGES), two(2 * IMAGES)
    assert not torch.equal(first.stages[0], second.stages[0])
    assert torch.equal(second.stages[0], network.by_hand(2 * IMAGES)["stages"][0])
    two.detach()
    assert same(one(IMAGES), first)
    one.detach()
    assert hooks(network) == 0


def test_attached_hooks_wait_for_the_tap(network: Small, points: FeaturePoints) -> None:
    tap = Tap(network, points, ALL)
    tap.attach()
    network(IMAGES)
    assert all(capture.tensor is None for capture in tap._captures)


def test_attaching_twice_hooks_once(network: Small, points: FeaturePoints) -> None:
    tap = Tap(network, points, ("stages",))
    tap.attach()
    tap.attach()
    assert hooks(network) == 2


def test_copies_capture_for_themselves(network: Small, points: FeaturePoints) -> None:
    tap = Tap(network, points, ALL)
    tap.attach()
    copied = copy.deepcopy(tap)
    assert copied.network is not network
    with torch.no_grad():
        copied.network.get_parameter("fc.bias").add_(1)
    assert not torch.equal(copied(IMAGES).logits, tap(IMAGES).logits)
    assert torch.equal(copied(IMAGES).stages[0], tap(IMAGES).stages[0])
    alone = copy.deepcopy(network)
    alone(IMAGES)
    assert all(capture.tensor is None for capture in tap._captures)


def test_a_tap_survives_pickling(network: Small, points: FeaturePoints) -> None:
    tap = Tap(network, points, ALL)
    assert same(pickle.loads(pickle.dumps(tap))(IMAGES), tap(IMAGES))


def test_recomputing_a_checkpoint_changes_no_capture() -> None:
    network = Small(checkpointed=True).train()
    plain = Small().train()
    plain.load_state_dict(network.state_dict())
    grads = []
    for model in (network, plain):
        tap = Tap(model, find(model, IMAGES), ALL)
        tap.attach()  # so that the hooks are there when the backward recomputes
        outputs = tap(IMAGES)
        kept = outputs.stages[1].detach().clone()
        (outputs.logits.sum() + outputs.stages[1].square().sum() + outputs.preactivations[1].sum()).backward()  # type: ignore[no-untyped-call]
        assert torch.equal(outputs.stages[1], kept)
        assert all(capture.tensor is None for capture in tap._captures)
        grads.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True) if a is not None and b is not None)


def test_captures_are_as_autocast_makes_them(network: Small, points: FeaturePoints) -> None:
    tap = Tap(network, points, ALL)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = tap(IMAGES)
    assert outputs.stages[0].dtype is outputs.logits.dtype is torch.bfloat16
    assert torch.allclose(outputs.stages[0].float(), tap(IMAGES).stages[0], atol=0.1)


def test_distributed_data_parallel(network: Small, points: FeaturePoints) -> None:
    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.tap = Tap(network, points, ("stages",))

        def forward(self, x: Tensor) -> Tensor:
            return self.tap(x).stages[1].square().mean() + self.tap(x).logits.square().mean()

    alone = copy.deepcopy(Student())
    alone(IMAGES).backward()
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        nn.parallel.DistributedDataParallel(Student())(IMAGES).backward()
    finally:
        dist.destroy_process_group()
    for parameter, other in zip(network.parameters(), alone.parameters(), strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        assert torch.equal(parameter.grad, other.grad)


def test_inference_mode(network: Small, points: FeaturePoints) -> None:
    expected = Tap(network, points, ALL)(IMAGES)
    with torch.inference_mode():
        assert same(Tap(network, points, ALL)(IMAGES), expected)


@pytest.mark.parametrize("whole", [False, True])
def test_compiled_networks_keep_attached_hooks(whole: bool, network: Small, points: FeaturePoints) -> None:
    torch._dynamo.reset()
    expected = Tap(copy.deepcopy(network), points, ALL)(IMAGES)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    assert isinstance(compiled, nn.Module)
    tap = Tap(network if whole else compiled, points, ALL)
    tap.attach()
    run = torch.compile(tap, backend="aot_eager", fullgraph=True) if whole else tap
    for _ in range(2):
        outputs = run(IMAGES)
        assert all(map(torch.equal, outputs.stages, expected.stages))
        assert all(map(torch.equal, outputs.preactivations, expected.preactivations))
    outputs.stages[1].sum().backward()  # type: ignore[no-untyped-call]
    assert network.stage1[0].weight.grad is not None


def test_hooks_that_come_after_compilation_are_missed(network: Small, points: FeaturePoints) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager")
    assert isinstance(compiled, nn.Module)
    compiled(IMAGES)
    with pytest.raises(LimbeckError, match=r"the forward of Small did not pass 'stage1'.*compiled before"):
        Tap(compiled, points, ("stages",))(IMAGES)


def test_a_module_replaced_under_attached_hooks_is_missed(network: Small, points: FeaturePoints) -> None:
    attached, passing = Tap(network, points, ("stages",)), Tap(network, points, ("stages",))
    attached.attach()
    network.stage2 = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
    with pytest.raises(LimbeckError, match="did not pass 'stage2'"):
        attached(IMAGES)
    assert torch.equal(passing(IMAGES).stages[1], network.stage2(network.stage1(IMAGES)))
    del network.stage2
    with pytest.raises(LimbeckError, match="Small no longer has the module 'stage2'"):
        passing(IMAGES)


def test_a_field_that_was_not_found_is_named_with_the_way_to_name_it(
    network: Small, points: FeaturePoints
) -> None:
    with pytest.raises(
        LimbeckError, match=r'found no stem in Small; .* student_features=\{"stem": "body.3"\}'
    ):
        Tap(network, points, ("stem",))
    with pytest.raises(LimbeckError, match=r'found no stages .*\{"stages": \["body.1", "body.3"\]\}'):
        Tap(network, FeaturePoints(logits=Point("")), ("stages",))
    with pytest.raises(LimbeckError, match="found no logits"):
        Tap(network, FeaturePoints(), ())
    with pytest.raises(LimbeckError, match="unknown feature of Small 'stage'; did you mean 'stages'"):
        Tap(network, points, ("stage",))


def test_what_is_overwritten_in_training_only_is_refused_and_not_given_wrong() -> None:
    class Dropping(Small):
        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(self.stage1(x), 0.5, self.training, inplace=True)
            return self.fc(self.stage2(x).mean((2, 3)))  # type: ignore[no-any-return]

    network = Dropping()
    tap = Tap(network.eval(), find(network, IMAGES), ("stages",))
    assert torch.equal(tap(IMAGES).stages[0], network.stage1(IMAGES))
    network.train()
    with pytest.raises(LimbeckError, match="Dropping overwrites 'stage1' in place in this mode"):
        tap(IMAGES)


def test_embeddings_are_pooled_over_valid_tokens() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return self.head(self.table(ids)).mean(1)  # type: ignore[no-any-return]

    network, ids = Tokens(), torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    tap = Tap(network, find(network, ids), ("embedding",))
    outputs = tap({"ids": ids, "attention_mask": mask})
    hidden = network.table(ids)
    assert torch.allclose(outputs.embedding, torch.stack([hidden[0].mean(0), hidden[1, 0], torch.zeros(4)]))
    assert outputs.mask.tolist() == [[True, True, True], [True, False, False], [False] * 3]
    assert torch.equal(tap(ids).embedding, hidden.mean(1))
    assert "mask" not in tap(ids)


def test_embeddings_of_a_dense_task_keep_their_positions() -> None:
    segmenter = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.Upsample(scale_factor=2)
    )
    points, maps = find(segmenter, IMAGES, dense=True), segmenter[:2](IMAGES)
    kept = Tap(segmenter, points, ("embedding",), positions=True)(IMAGES)
    assert kept.logits.shape == (4, 5, 16, 16)
    assert torch.equal(kept.embedding, maps)
    assert torch.equal(segmenter[3](segmenter[2](kept.embedding)), kept.logits)
    assert torch.equal(Tap(segmenter, points, ("embedding",))(IMAGES).embedding, maps.flatten(2).mean(2))

    tagger, ids = (
        nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
        torch.arange(8),
    )
    ids = ids.view(2, 4)
    tap = Tap(tagger, find(tagger, ids, dense=True), ("embedding",), positions=True)
    assert torch.equal(tap(ids).embedding, tagger[:3](ids))
    assert tap(ids).embedding.shape == (2, 4, 6)


def test_outputs_that_the_network_names_are_given_if_asked_for() -> None:
    class Detector(Small):
        boxes = True

        def forward(self, x: Tensor) -> dict[str, object]:  # type: ignore[override]
            pooled = self.stage2(self.stage1(x)).mean((2, 3))
            result: dict[str, object] = {"logits": self.fc(pooled), "levels": [pooled, 2 * pooled]}
            return {**result, "boxes": pooled.sigmoid()} if self.boxes else result

    network = Detector().eval()
    points = find(network, IMAGES)
    assert set(Tap(network, points, ())(IMAGES)) == {"logits"}
    outputs = Tap(network, points, ("boxes", "levels"))(IMAGES)
    pooled = network.stage2(network.stage1(IMAGES)).mean((2, 3))
    assert torch.equal(outputs["boxes"], pooled.sigmoid())
    assert torch.equal(outputs["levels"][1], 2 * pooled)
    with pytest.raises(LimbeckError, match="unknown feature of Detector 'box'; did you mean 'boxes'"):
        Tap(network, points, ("box",))
    with pytest.raises(
        LimbeckError,
        match=r"Detector returns nothing named 'masks'; the other .* levels, boxes; .*\{\"masks\": ",
    ):
        Tap(network, points, ("masks",))
    moved = find(network, IMAGES, overrides={"boxes": "stage1"})
    assert torch.equal(Tap(network, moved, ("boxes",))(IMAGES)["boxes"], network.stage1(IMAGES))
    network.boxes = False
    with pytest.raises(
        LimbeckError, match=r"Detector returned no boxes, \[boxes\] of what it returns, but dict"
    ):
        Tap(network, points, ("boxes",))(IMAGES)


def test_embeddings_of_one_pixel_are_flattened() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.Flatten())
    embedding = Tap(network, find(network, IMAGES), ("embedding",))(IMAGES).embedding
    assert torch.equal(embedding, network[1](network[0](IMAGES)).flatten(1))


def test_arguments_given_by_keyword_are_captured() -> None:
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 6), nn.Bilinear(6, 6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(input1=self.body(x).relu(), input2=x.new_ones(len(x), 6))  # type: ignore[no-any-return]

    network, table = Keyword(), torch.randn(3, 4)
    for text in ("head:input", "head:input[input1]"):
        points = find(network, table, overrides={"embedding": text})
        assert torch.equal(Tap(network, points, ("embedding",))(table).embedding, network.body(table).relu())


def test_torch_keeps_its_fused_layers_for_others() -> None:
    network = nn.Sequential(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        nn.Flatten(),
        nn.Linear(24, 2),
    )
    hidden = torch.randn(2, 3, 8)
    Tap(network, find(network, hidden), ("stages",))(hidden)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounterWithBackend]:
    """Counts what `torch.compile` compiles, with a backend that needs no compiler."""
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    yield counter
    torch.compiler.reset()


def test_texts_of_any_length_are_compiled_twice_at_most(compilations: CompileCounterWithBackend) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    spec = 'hf:config(model_type="bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=1)'
    network = models.build(spec, example=tokens(4), num_classes=3, facts={"vocab_size": 30}).eval()
    tap = Tap(network, find(network, tokens(4)), ("embedding",))
    with tap.compiled():
        for length in (6, 9, 4, 12, 7):
            inputs = tokens(length)
            compiled = tap(inputs)
            expected = network(**inputs).logits
            torch.testing.assert_close(compiled.logits, expected, rtol=1e-4, atol=1e-6)
            compiled.logits.sum().backward()  # type: ignore[no-untyped-call]
    assert compilations.frame_count == 2


def test_images_are_compiled_for_each_shape(
    compilations: CompileCounterWithBackend, network: Small, points: FeaturePoints
) -> None:
    tap = Tap(network.eval(), points, ("embedding",))
    with tap.compiled():
        for size in (4, 3, 4, 2, 3):
            torch.testing.assert_close(tap(IMAGES[:size]).logits, network(IMAGES[:size]))
    assert compilations.frame_count == 3


def tokens(length: int) -> dict[str, Tensor]:
    """Four texts, one of three tokens and the others of as many as are asked for."""
    draw = torch.Generator().manual_seed(length)
    mask = torch.ones(4, length, dtype=torch.int64)
    mask[1, 3:] = 0
    ids = torch.randint(1, 30, (4, length), generator=draw) * mask
    return {"input_ids": ids, "attention_mask": mask}
