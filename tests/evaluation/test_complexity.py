"""The supervision complexity, against kernels that can be written down by hand."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation import supervision_complexity, tangent_kernel
from limbeck.evaluation.complexity import Kernel, isotropic_complexity


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(kernel: Tensor, targets: Tensor, ridge: float = 0.0) -> float:
    """The definition for a whole kernel, written with an inverse and for all outputs at once."""
    samples, outputs = targets.shape
    rows = samples * outputs
    regular = kernel + ridge * kernel.trace() / rows * torch.eye(rows, dtype=torch.float64)
    y = (targets - targets.mean(0)).flatten()
    return math.sqrt(float(y @ torch.linalg.inv(regular) @ y) * float(regular.trace())) / samples


class TwoLayers(nn.Module):
    """tanh(x A + a) B, with parameters of several shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.dropout, self.out = nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.dropout(torch.tanh(self.hidden(x))))
        return y


def network() -> TwoLayers:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return TwoLayers()


def finite_differences(network: nn.Module, inputs: Tensor) -> Tensor:
    """(n, C, P) the derivatives by each parameter, by central differences."""
    exact = copy.deepcopy(network).double().eval()
    step, columns = 1e-6, []
    with torch.no_grad():
        for parameter in exact.parameters():
            flat = parameter.view(-1)
            for place in range(len(flat)):
                flat[place] += step
                above = exact(inputs)
                flat[place] -= 2 * step
                below = exact(inputs)
                flat[place] += step
                columns.append((above - below) / (2 * step))
    return torch.stack(columns, -1)


class TestKernel:
    def test_that_of_a_linear_model_is_the_gram_matrix_of_the_inputs_apart_by_output(self) -> None:
        """f_c(x) = w_c x has df_c/dw_d = x if c = d, so K[(a, c), (b, d)] = x_a x_b [c = d]."""
        inputs = drawn(5, 4)
        found = tangent_kernel(nn.Linear(4, 3, bias=False), inputs)
        assert torch.allclose(found, torch.kron(inputs @ inputs.T, torch.eye(3, dtype=torch.float64)))
        with_bias = tangent_kernel(nn.Linear(4, 3), inputs, kernel="mean")
        assert torch.allclose(with_bias, inputs @ inputs.T + 1)

    def test_that_of_two_layers_is_made_of_its_derivatives(self) -> None:
        inputs = drawn(6, 3)
        derivatives = finite_differences(network(), inputs)
        assert derivatives.shape == (6, 2, 3 * 4 + 4 + 4 * 2)
        rows = derivatives.flatten(0, 1)
        assert torch.allclose(tangent_kernel(network(), inputs), rows @ rows.T, atol=1e-8)
        mean = torch.einsum("acp,bcp->ab", derivatives, derivatives) / 2
        assert torch.allclose(tangent_kernel(network(), inputs, kernel="mean"), mean, atol=1e-8)

    @pytest.mark.parametrize("kernel", ["full", "mean"])
    @pytest.mark.parametrize("samples_at_once", [1, 2, 4, 6])
    def test_blocks_change_nothing(self, kernel: Kernel, samples_at_once: int) -> None:
        inputs, outputs = drawn(6, 3), 2 if kernel == "full" else 1
        memory = samples_at_once * outputs * 8 * 24
        found = tangent_kernel(network(), inputs, kernel=kernel, memory=memory)
        assert torch.allclose(found, tangent_kernel(network(), inputs, kernel=kernel), rtol=1e-12)

    def test_the_network_is_asked_in_eval_mode_and_stays_as_it_is(self) -> None:
        given = network().train()
        state = copy.deepcopy(given.state_dict())
        first, second = (tangent_kernel(given, drawn(4, 3)) for _ in range(2))
        assert torch.equal(first, second), "without dropout"
        assert given.training
        assert all(torch.equal(value, state[key]) for key, value in given.state_dict().items())
        assert all(p.grad is None and p.dtype == torch.float32 for p in given.parameters())

    def test_batch_norm_counts_by_its_running_statistics(self) -> None:
        norm = nn.BatchNorm1d(2)
        norm.running_mean.copy_(torch.tensor([1.0, -1.0]))  # type: ignore[union-attr]
        norm.running_var.fill_(4 - norm.eps)  # type: ignore[union-attr]
        inputs = drawn(3, 2)
        normal = (inputs - torch.tensor([1.0, -1.0])) / 2
        expected = torch.einsum("ac,bd,cd->acbd", normal, normal, torch.eye(2, dtype=torch.float64))
        expected = expected + torch.eye(2, dtype=torch.float64)[None, :, None]  # of the offset
        assert torch.allclose(tangent_kernel(norm, inputs), expected.reshape(6, 6))

    def test_named_inputs_are_taken_by_name(self) -> None:
        class Summed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(5, 2)

            def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
                return {"logits": (self.embedding(ids) * mask.unsqueeze(2)).sum(1)}

        ids, mask = torch.tensor([[0, 1, 1], [1, 2, 4]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
        counts = torch.tensor([[1, 2, 0, 0, 0], [0, 1, 1, 0, 0]], dtype=torch.float64)
        found = tangent_kernel(Summed(), {"ids": ids, "mask": mask})
        assert torch.equal(found, torch.kron(counts @ counts.T, torch.eye(2, dtype=torch.float64)))

    def test_one_too_large_is_refused(self) -> None:
        with pytest.raises(LimbeckError, match=r"the derivatives of TwoLayers for one sample take 0\.0 GB"):
            tangent_kernel(network(), drawn(6, 3), memory=2 * 8 * 24 - 1)

    def test_one_without_parameters_has_none(self) -> None:
        with pytest.raises(LimbeckError, match="Flatten has no parameters, and so no tangent kernel"):
            tangent_kernel(nn.Flatten(), drawn(6, 3))

    def test_one_that_torch_func_cannot_take_is_refused(self) -> None:
        class Asks(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.out = nn.Linear(3, 2)

            def forward(self, x: Tensor) -> Tensor:
                y: Tensor = self.out(x if x.sum() > 0 else -x)
                return y

        with pytest.raises(LimbeckError, match=r"cannot be computed by torch\.func: .*data-dependent"):
            tangent_kernel(Asks(), drawn(6, 3))


class TestComplexity:
    @pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.5])
    def test_is_the_definition(self, ridge: float) -> None:
        roots, targets = drawn(10, 40), drawn(5, 2, seed=1)
        kernel = roots @ roots.T
        found = supervision_complexity(kernel, targets, ridge=ridge)
        assert found.item() == pytest.approx(by_hand(kernel, targets, ridge), rel=1e-10)

    def test_of_a_kernel_by_samples_is_that_of_outputs_alike_and_apart(self) -> None:
        roots, targets = drawn(5, 9), drawn(5, 3, seed=1)
        kernel = roots @ roots.T
        whole = torch.kron(kernel, torch.eye(3, dtype=torch.float64))
        found = [supervision_complexity(each, targets) for each in (kernel, whole)]
        assert found[0].item() == pytest.approx(found[1].item(), rel=1e-10)

    def test_by_hand_for_two_samples(self) -> None:
        """K = diag(1, 4) and centered targets (1, -1): sqrt((1 + 1/4) * 5) / 2."""
        kernel = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
        for offset in (0.0, 7.0):
            targets = torch.tensor([[1.0], [-1.0]]) + offset
            found = supervision_complexity(kernel, targets, ridge=0)
            assert found.item() == pytest.approx(math.sqrt(1.25 * 5) / 2)

    def test_does_not_see_the_scale_of_the_kernel_and_is_linear_in_the_targets(self) -> None:
        roots, targets = drawn(6, 9), drawn(6, 3, seed=1)
        kernel = roots @ roots.T
        once = supervision_complexity(kernel, targets).item()
        assert supervision_complexity(100 * kernel, targets).item() == pytest.approx(once, rel=1e-9)
        assert supervision_complexity(kernel, 3 * targets).item() == pytest.approx(3 * once, rel=1e-9)

    def test_is_least_along_what_the_kernel_learns_first(self) -> None:
        values = torch.tensor([9.0, 3.0, 1.0, 0.1], dtype=torch.float64)
        # the first vector is that of an offset, which costs nothing; the others sum to 0
        base = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2.0
        vectors = base.double().T
        kernel = vectors @ torch.diag(values) @ vectors.T
        found = [supervision_complexity(kernel, vectors[:, k : k + 1], ridge=0).item() for k in range(4)]
        assert found[0] == pytest.approx(0, abs=1e-6)
        for k in (1, 2, 3):
            assert found[k] == pytest.approx(math.sqrt(values.sum() / values[k]) / 4)
        assert all(first < second for first, second in itertools.pairwise(found))

    def test_of_several_targets_at_once(self) -> None:
        roots, targets = drawn(5, 9), drawn(4, 5, 3, seed=1)
        kernel = roots @ roots.T
        for whole in (kernel, torch.kron(kernel, torch.eye(3, dtype=torch.float64)) + torch.eye(15)):
            found = supervision_complexity(whole, targets)
            one_by_one = torch.stack([supervision_complexity(whole, each) for each in targets])
            assert torch.allclose(found, one_by_one, rtol=1e-10)

    def test_of_the_kernel_that_prefers_nothing(self) -> None:
        targets = drawn(4, 5, 3, seed=1)
        for size in (5, 15):
            found = supervision_complexity(torch.eye(size, dtype=torch.float64), targets)
            assert torch.allclose(found, isotropic_complexity(targets))

    @pytest.mark.parametrize(
        ("kernel", "targets", "ridge", "message"),
        [
            (torch.eye(5), torch.zeros(5), 0.0, r"shape \(n, C\) or \(K, n, C\), not \(5,\)"),
            (torch.eye(6), torch.zeros(5, 3), 0.0, r"shape \(15, 15\) or \(5, 5\), not \(6, 6\)"),
            (torch.zeros(5, 15), torch.zeros(5, 3), 0.0, r"not \(5, 15\)"),
            (torch.eye(5), torch.zeros(5, 3), -0.1, r"a share of the kernel's diagonal from 0 on, not -0\.1"),
            (torch.eye(5), torch.zeros(5, 3), math.nan, "not nan"),
            (torch.ones(5, 5), torch.eye(5), 0.0, "5 samples is singular with a ridge of 0; give a larger"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, kernel: Tensor, targets: Tensor, ridge: float, message: str
    ) -> None:
        with pytest.raises(LimbeckError, match=message):
            supervision_complexity(kernel.double(), targets.double(), ridge=ridge)
