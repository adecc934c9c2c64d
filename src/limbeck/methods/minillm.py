"""MiniLLM: the reverse KL of whole texts, by policy gradient. Gu et al., ICLR 2024, arXiv:2306.08543.

With student q, teacher p and r_t = log p(y_t | y_<t) - log q(y_t | y_<t), the gradient of KL(q || p) over
texts is parted in that of the next token, which is a sum over the vocabulary, and that of what follows it,
which is drawn (equation 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Count, Positive, Share
from limbeck.errors import LimbeckError
from limbeck.generation import Noise, Written, blend
from limbeck.methods.base import Method, Objective, inner_first
from limbeck.methods.declarations import Context, Networks, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.rewriting import Prompts, beside, rewritten
from limbeck.methods.parts.shapes import class_ids, class_logits, same_samples
from limbeck.methods.parts.writers import Writer
from limbeck.methods.terms import Term
from limbeck.outputs import UNLABELED, Batch, Outputs


def minillm_single(
    student_logits: Tensor, teacher_logits: Tensor, importance: Tensor, reduction: Reduction = "mean"
) -> Tensor:
    """Reverse divergence of the next token (equations 3 and 5).

        L = mean_t w_t KL(q(. | y_<t) || p(. | y_<t)),   w_t = q(y_t | y_<t) / p~(y_t | y_<t)

    Args:
        student_logits: (P, V) of q, a row for each token of texts that were drawn.
        teacher_logits: (P, V) of p.
        importance: (P,) w_t of the token that was drawn, from p~.
        reduction: "mean" for the mean over the tokens, a scalar; "none" for (P,).
    Raises:
        LimbeckError: if the shapes differ or are no rows of logits, or for another number of weights.
    """
    class_logits("minillm_single", student_logits=student_logits, teacher_logits=teacher_logits)
    same_samples("minillm_single", student_logits, teacher_logits, importance)
    divergence = kd(student_logits, teacher_logits, 1.0, "none", divergence="reverse")
    return reduce(full_precision(importance) * divergence, reduction)


def minillm_long(
    student_logits: Tensor,
    tokens: Tensor,
    returns: Tensor,
    drawn: Tensor,
    clip: float = 0.2,
    reduction: Reduction = "mean",
) -> Tensor:
    """What a token is worth by what follows it.

        L = - mean_t min(rho_t R_t+1, clamp(rho_t, 1 - eps, 1 + eps) R_t+1)
        rho_t = q(y_t | y_<t) / p~(y_t | y_<t)

    Its gradient at rho_t = 1 is - R_t+1 grad log q(y_t | y_<t), the second part of equation 3. The ratio is
    clipped as in PPO (section 2.3).

    Args:
        student_logits: (P, V) of q, a row for each token of texts that were drawn.
        tokens: (P,) int64, the tokens y_t.
        returns: (P,) R_t+1, see `returns_of`.
        drawn: (P,) log p~(y_t | y_<t), with which the tokens were drawn.
        clip: eps > 0.
        reduction: "mean" for the mean over the tokens, a scalar; "none" for (P,).
    Raises:
        LimbeckError: for logits that are no rows, and tokens, returns or `drawn` that are not one for each.
    """
    class_logits("minillm_long", student_logits=student_logits)
    class_ids("minillm_long", student_logits, tokens)
    same_samples("minillm_long", tokens, returns, drawn)
    ours = F.log_softmax(full_precision(student_logits), -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    ratio, worth = (ours - full_precision(drawn)).exp(), full_precision(returns)
    return reduce(-torch.minimum(ratio * worth, ratio.clamp(1 - clip, 1 + clip) * worth), reduction)


def returns_of(rewards: Tensor, mask: Tensor, *, normalize: bool = True) -> Tensor:
    """R_t+1, the sum of the rewards of all later tokens of a text, or their mean (equation 6).

        R_t+1 = sum over u > t of r_u,   over the number of these u where it is the mean

    Args:
        rewards: (B, n) r_t of each token.
        mask: (B, n) bool, the tokens of each text, which are first in its row.
        normalize: the mean, without which short texts are worth more than long ones.
    Returns: (B, n); 0 for the last token of a text.
    """
    rewards = rewards.masked_fill(~mask, 0.0)
    later = rewards.flip(1).cumsum(1).flip(1) - rewards
    count = mask.sum(1, keepdim=True) - mask.cumsum(1)
    later = later.masked_fill((count <= 0) | ~mask, 0.0)
    return later / count.clamp(min=1) if normalize else later


@dataclass(frozen=True)
class _Noted(Written):
    """What was written, with what is noted of each token (B, n), and the mean -r_t of each text (B,)."""

    notes: Mapping[str, Tensor] = field(default_factory=dict)
    lost: Tensor = field(default_factory=lambda: torch.zeros(0))


class MiniLLM(Writer):
    """The student minimizes the reverse KL of the texts that it writes, by policy gradient.

        L = single + long + base,   y_t ~ p~ = alpha p + (1 - alpha) q

    At each step a text y is drawn after every prompt of the batch, token by token from the mixture p~. What
    tokens are worth is settled as they are drawn. As in `on_policy`, what is written is no label, the teacher
    answers live, and the numbers that texts are drawn by are those of seed, step and sample.

    The terms are "single" and "long", the two parts of the gradient; those of `base`, which learns from the
    data of the batch, as the paper's loss on pretraining text does; "reverse_kl", the mean over the texts
    that were written last of their mean -r_t, which with alpha = 0 estimates the divergence by token; and
    "tokens", their mean length. What was written and the data have a mean each, over the tokens of all
    processes and of all pieces of a batch; in a loop of another library, over those of each piece.

    Texts are written anew at each step; the published code writes 256 and learns four times from them. It
    also counts r_t itself in the return, divides rewards by 0.5 and whitens the returns of a batch, none of
    which is in the equations.

    Args:
        base: what learns from the data in the same step, such as `ce`; None for nothing. It may compare next
            tokens by themselves alone.
        mixture: alpha, the teacher's share in the distribution that tokens are drawn from.
        clip: eps, how far the ratio of probabilities may be from 1 to count.
        normalize: whether a return is the mean of the later rewards, or their sum.
        length: most tokens of a text; it ends sooner at the id that ends a document, and where a network
            reads no longer texts.
        beginning: tokens that are given of a text that has no prompt, at most half of it.
    """

    name = "minillm"
    recipe = "minillm(ce)"
    asks = True

    def __init__(
        self,
        base: Method | None = None,
        *,
        mixture: Share = 0.2,
        clip: Positive = 0.2,
        normalize: bool = True,
        length: Count = 128,
        beginning: Count = 16,
    ) -> None:
        for method in inner_first(base) if base else ():
            if not isinstance(method, Objective) and (
                isinstance(method, Writer)
                or not method.row_wise
                or {*method.reads.student, *method.reads.teacher} - {"logits"}
            ):
                raise LimbeckError(
                    f"minillm takes for the data what compares next tokens one by one, such as ce and kd, "
                    f"not {method.name}; write {method.name} + minillm to have both on what is written"
                )
        super().__init__(base, length=length, beginning=beginning, fraction=1.0)
        self.mixture, self.clip, self.normalize = mixture, clip, normalize

    @property
    def reads_in_training(self) -> Reads:
        """The teacher's logits, too."""
        return self.reads

    def bind(self, context: Context) -> None:
        """Draws a seed."""
        super().bind(context)
        self.divergence: Tensor
        self.register_buffer("divergence", torch.zeros(()))

    def written(self, prompts: Prompts, sample: Tensor, numbers: Noise, networks: Networks) -> Written:
        """Text by both."""
        found = blend(
            networks.student,
            self.teacher_of(networks, len(sample)),
            prompts.ids,
            prompts.mask,
            share=self.mixture,
            length=self.length,
            ends=self.ends,
            width=self.width,
            noise=numbers,
        )
        written, rewards = found.written, found.teacher - found.student
        notes = {
            "tokens": written.ids,
            "returns": returns_of(rewards, written.mask, normalize=self.normalize),
            "drawn": found.mixture,
            "importance": (found.student - found.mixture).exp(),
        }
        lost = (-rewards * written.mask).sum(1) / written.lengths.clamp(min=1)
        return _Noted(written.ids, written.lengths, written.replaced, notes=notes, lost=lost)

    def made(self, batch: Batch, prompts: Prompts, written: Written) -> Batch:
        """What was written, and the data behind it where there is something to learn from that."""
        assert isinstance(written, _Noted)
        assert batch.targets is not None
        result = rewritten(batch, prompts, written, labeled=False)
        result = replace(result, figures={**result.figures, "reverse_kl": written.lost})
        assert result.targets is not None
        places = result.targets != UNLABELED  # the same tokens in the same order as those of written.mask
        notes = {
            name: each.new_zeros(places.shape).masked_scatter(places, each[written.mask])
            for name, each in written.notes.items()
        }
        notes["own"] = places.double()
        if self.base is None:
            return replace(result, notes=notes)
        given = (batch.targets != UNLABELED).double()
        notes["data"] = torch.zeros_like(notes["own"])
        counts = {"own": notes["own"].sum(), "data": given.sum()}
        ratios = {kind: sum(counts.values()) / count.clamp(min=1) for kind, count in counts.items()}
        marked = replace(result, notes=notes, kinds=tuple(counts), ratios=ratios)
        return beside(marked, replace(batch, notes={"data": given}))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of what was written, those of the data, and the figures."""
        assert batch.rows is not None
        notes = batch.rows.notes
        own, logits = _counted("own", batch, student.logits), student.logits
        if "reverse_kl" in batch.figures:
            self.divergence.copy_(batch.figures["reverse_kl"].mean())
        single = minillm_single(logits, teacher.logits, notes["importance"], "none")
        later = minillm_long(logits, notes["tokens"], notes["returns"], notes["drawn"], self.clip, "none")
        return {
            "single": Term((own * single).mean()),
            "long": Term((own * later).mean()),
            **(self._of_data(self.base, student, teacher, batch) if self.base else {}),
            "reverse_kl": Term(self.divergence, "monitor", per="samples"),
            "tokens": self.lengths(batch),
        }

    @staticmethod
    def _of_data(base: Method, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of what learns from the data; where no row is data, one stands in, which counts as 0."""
        rows, targets = batch.rows, batch.targets
        assert rows is not None
        assert targets is not None
        share = _counted("data", batch, student.logits)
        chosen = share.nonzero().flatten() if share.any() else torch.zeros_like(targets[:1])

        def of(outputs: Outputs) -> Outputs:
            named = {name: of(each) for name, each in outputs.named.items()} if "named" in outputs else {}
            return Outputs(logits=outputs.logits[chosen], **({"named": named} if named else {}))

        some = replace(batch, targets=targets[chosen], rows=None, related=None)
        terms = base.terms(of(student), of(teacher), some)
        return {name: replace(term, value=term.value * share.mean()) for name, term in terms.items()}


def _counted(kind: str, batch: Batch, logits: Tensor) -> Tensor:
    """(P,) what each row counts in a mean over all, so that it is a mean over those of a kind."""
    assert batch.rows is not None
    counted = batch.rows.notes[kind] * batch.ratios.get(kind, 1)
    return counted.to(full_precision(logits).dtype)
