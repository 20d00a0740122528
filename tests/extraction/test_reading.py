from __future__ import annotations

import pytest
import torch

from steerscope.errors import BadValueError
from steerscope.extraction.reading import ReadToken

TEXT = torch.arange(1.0, 7.0)[None, :, None].repeat(2, 1, 3)  # position p holds p + 1


@pytest.mark.parametrize(
    ("written", "read", "value"),
    [
        ("last", ReadToken.last(), 6.0),
        ("-2", ReadToken.at(-2), 5.0),
        ("token 3", ReadToken.at(3), 4.0),
        ("mean", ReadToken.mean(), 4.0),
        ("2:5", ReadToken.span(2, 5), 4.0),
        ("-2:", ReadToken.span(-2, None), 5.5),
        (":3", ReadToken.span(None, 3), 2.5),
        (":", ReadToken.span(None, None), 4.0),
        ("-3:-1", ReadToken.span(-3, -1), 4.5),
        ("0+sink", ReadToken.at(0, sink=True), 1.0),
        ("mean+sink", ReadToken.mean(sink=True), 3.5),
        (":3+sink", ReadToken.span(None, 3, sink=True), 2.0),
        ("0:2+sink", ReadToken.span(0, 2, sink=True), 1.5),
    ],
)
def test_what_is_read_by_hand_and_back_from_text(written, read, value):
    assert ReadToken.parse(written) == read
    assert ReadToken.parse(str(read)) == read
    assert torch.equal(read(TEXT), torch.full((2, 3), value))


@pytest.mark.parametrize(
    "read",
    [
        ReadToken.at(0),
        ReadToken.at(-6),
        ReadToken.at(-7),
        ReadToken.at(6),
        ReadToken.at(-7, sink=True),
        ReadToken.span(0, 3),
        ReadToken.span(-6, None),
        ReadToken.span(-9, None, sink=True),
        ReadToken.span(2, 7),
        ReadToken.span(3, 3),
        ReadToken.span(4, 2),
    ],
    ids=str,
)
def test_position_0_unasked_and_tokens_that_are_not_there_are_refused(read):
    with pytest.raises(BadValueError, match="cannot read token.* of a text of 6 tokens"):
        read(TEXT)


def test_a_text_of_one_token_can_be_read_only_with_the_sink():
    with pytest.raises(BadValueError, match="no content tokens"):
        ReadToken.mean()(TEXT[:, :1])
    assert torch.equal(ReadToken.mean(sink=True)(TEXT[:, :1]), torch.ones(2, 3))


@pytest.mark.parametrize("text", ["first", "1:2:3", "", "+sink", "--2", "token", "2.5"])
def test_other_words_are_refused(text):
    with pytest.raises(BadValueError, match="write last, mean or an index"):
        ReadToken.parse(text)


@pytest.mark.parametrize("read", ["mean", "2:30", "last"])
def test_a_mean_is_not_rounded_to_a_narrow_format(read):
    generator = torch.Generator().manual_seed(0)
    x = (300 + 0.5 * torch.randn(2, 41, 8, generator=generator)).bfloat16()
    found = ReadToken.parse(read)(x).float()
    torch.testing.assert_close(found, ReadToken.parse(read)(x.float()), rtol=1e-6, atol=0)
