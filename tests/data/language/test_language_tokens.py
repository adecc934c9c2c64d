"""From documents to tokens: what is learned, the bytes of each token, and the templates of chats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, processors

from language_models import CHAT, MARKED, tokens
from limbeck.data.language.forms import Chat, Document, Exchange, Text
from limbeck.data.language.tokens import Encoder, Tokens
from limbeck.errors import LimbeckError

TALK = Chat(
    tuple(
        {"role": role, "content": content}
        for role, content in (
            ("system", "Be kind."),
            ("user", "Who saw the ball?"),
            ("assistant", "Tim saw it."),
            ("user", "And the cat?"),
            ("assistant", "Sue liked it."),
        )
    )
)


def encoded(document: Document, template: str | None = None, **settings: Any) -> tuple[Tokens, Any]:
    reads = tokens(template)
    encoder = Encoder(reads, **{"join": "\n", "chat": False, "ends": True, **settings})
    (made,) = encoder([document])
    return made, reads.tokenizer


def learned(made: Tokens, tokenizer: Any) -> str:
    text: str = tokenizer.decode(made.ids[made.learned].tolist())
    return text


def test_a_text_is_learned_with_its_end() -> None:
    made, tokenizer = encoded(Text("Tim saw a ball."))
    assert tokenizer.decode(made.ids.tolist()) == "<|endoftext|>Tim saw a ball.<|endoftext|>"
    assert made.learned.all()
    assert int(made.bytes.sum()) == len("Tim saw a ball.")
    assert made.bytes[[0, -1]].tolist() == [0, 0]
    open_ended, _ = encoded(Text("Tim saw a ball.", ends=False))
    assert open_ended.ids.tolist() == made.ids[:-1].tolist()
    assert encoded(Text("Tim saw a ball."), ends=False)[0].ids.tolist() == made.ids[:-1].tolist()


def test_the_bytes_of_tokens_that_share_a_character_add_up() -> None:
    text = "größer 你好 🙂🙂 é"
    made, _ = encoded(Text(text))
    assert int(made.bytes.sum()) == len(text.encode())
    assert len(made) > len(text)  # no merges for these, so that tokens are bytes
    assert set(made.bytes[1:-1].tolist()) <= {0, 1, 2, 3, 4}


def test_of_an_exchange_the_response_is_learned() -> None:
    made, tokenizer = encoded(Exchange("name[Tim]", "Tim saw a ball."))
    assert tokenizer.decode(made.ids.tolist()) == "<|endoftext|>name[Tim]\nTim saw a ball.<|endoftext|>"
    assert learned(made, tokenizer) == "Tim saw a ball.<|endoftext|>"
    assert int(made.bytes[made.learned].sum()) == len("Tim saw a ball.")
    joined, _ = encoded(Exchange("name[Tim]", "Tim saw a ball."), join=" -> ")
    assert "name[Tim] -> Tim" in tokenizer.decode(joined.ids.tolist())


def test_an_end_that_the_tokenizer_adds_is_not_added_again() -> None:
    reads = tokens()
    reads.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    encoder = Encoder(reads, join="\n", chat=False, ends=True)
    text, exchange = encoder([Text("Tim saw."), Exchange("Who?", "Tim.")])
    assert reads.tokenizer.decode(text.ids.tolist()) == "Tim saw.<|endoftext|>"
    assert reads.tokenizer.decode(exchange.ids.tolist()) == "Who?\nTim.<|endoftext|>"
    assert reads.tokenizer.decode(encoder.prompt(Exchange("Who?", "Tim."))) == "Who?\n"
    assert reads.tokenizer.decode(encoder.prompt(Text("Tim saw."))) == "Tim saw."


@pytest.mark.parametrize("template", [CHAT, MARKED])
def test_of_a_chat_what_the_assistant_says_is_learned(template: str) -> None:
    made, tokenizer = encoded(TALK, template)
    text = "<|system|>Be kind.<|endoftext|><|user|>Who saw the ball?<|endoftext|><|assistant|>Tim saw it."
    assert tokenizer.decode(made.ids.tolist()).startswith(text)
    assert learned(made, tokenizer) == "Tim saw it.<|endoftext|>Sue liked it.<|endoftext|>"
    assert int(made.bytes[made.learned].sum()) == len("Tim saw it.Sue liked it.")


def test_both_kinds_of_templates_say_the_same() -> None:
    (plain, _), (marked, _) = encoded(TALK, CHAT), encoded(TALK, MARKED)
    assert np.array_equal(plain.ids, marked.ids)
    assert np.array_equal(plain.learned, marked.learned)


def test_a_token_that_begins_before_an_answer_is_learned() -> None:
    """The generation prompt ends with a space, which goes with the first word of the answer."""
    plain, marked = (
        template.replace("<|assistant|>", "<|assistant|> ").replace(
            "<|{{ m['role'] }}|>", "<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %} {% endif %}"
        )
        for template in (CHAT, MARKED)
    )
    (found, tokenizer), (wanted, _) = encoded(TALK, plain), encoded(TALK, marked)
    assert learned(found, tokenizer).startswith(" Tim saw it.<|endoftext|>")
    assert np.array_equal(found.ids, wanted.ids)
    assert np.array_equal(found.learned, wanted.learned)


def test_an_exchange_may_be_a_chat() -> None:
    made, tokenizer = encoded(Exchange("Who?", "Tim."), CHAT, chat=True)
    assert learned(made, tokenizer) == "Tim.<|endoftext|>"
    assert "<|user|>Who?<|endoftext|><|assistant|>Tim." in tokenizer.decode(made.ids.tolist())


def test_what_ends_an_answer_in_the_template_ends_what_is_written() -> None:
    reads = tokens(CHAT.replace("{{ eos_token }}", "<|end|>\n"))
    reads.tokenizer.add_tokens([AddedToken("<|end|>", special=True)])  # of no use that has a name
    end = reads.tokenizer.convert_tokens_to_ids("<|end|>")
    assert end not in reads.tokenizer.all_special_ids
    encoder = Encoder(reads, join="\n", chat=False, ends=True)
    chats = [*encoder([TALK, Chat(TALK.messages[:3])])]
    assert encoder.end(chats) == end
    assert learned(chats[1], reads.tokenizer) == "Tim saw it.<|end|>"
    assert int(chats[1].bytes[chats[1].learned].sum()) == len("Tim saw it.")
    assert encoder.end([*encoder([Exchange("Who?", "Tim.")])]) == 0
    assert encoder.end([*encoder([Text("Tim", ends=False), Text("Sue", ends=False)])]) == 0


def test_a_prompt_is_what_comes_before_the_last_answer() -> None:
    reads = tokens(CHAT)
    encoder = Encoder(reads, join="\n", chat=False, ends=True)
    assert reads.tokenizer.decode(encoder.prompt(Exchange("Who?", "Tim."))) == "<|endoftext|>Who?\n"
    assert reads.tokenizer.decode(encoder.prompt(TALK)).endswith(
        "<|user|>And the cat?<|endoftext|><|assistant|>"
    )


def test_what_a_template_lacks_is_said() -> None:
    with pytest.raises(LimbeckError, match="has no chat template, so nothing says how messages become text"):
        encoded(TALK)
    rewriting = "{{ messages|length }}" + CHAT
    with pytest.raises(LimbeckError, match="renders the beginning of a chat otherwise than the whole"):
        encoded(TALK, rewriting)
    with pytest.raises(LimbeckError, match="does not take these messages: only users"):
        encoded(TALK, "{{ raise_exception('only users') }}")


def test_a_tokenizer_without_an_end_is_refused_where_one_is_needed() -> None:
    reads = tokens()
    reads.tokenizer.eos_token = None
    with pytest.raises(LimbeckError, match=r"names no EOS token.*end=false"):
        [*Encoder(reads, join="\n", chat=False, ends=True)([Text("Tim.")])]
    (made,) = Encoder(reads, join="\n", chat=False, ends=False)([Text("Tim.")])
    assert reads.tokenizer.decode(made.ids.tolist()).endswith("Tim.")
