from __future__ import annotations

from steerscope.texts.showing import without_template

CHATML = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LLAMA = "<s>[INST] {} [/INST]"
GEMMA = "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"


def test_what_is_said_is_shown_without_the_template_around_it():
    said = ["What is it like?", "What if I <b>go</b>?", "Why?\nTell me."]
    for template in (CHATML, LLAMA, GEMMA):
        assert without_template([template.format(text) for text in said]) == said


def test_words_that_all_prompts_share_stay_and_so_does_one_prompt_alone():
    said = ["Write two sentences about a park.", "Write two sentences about a pond."]
    assert without_template([CHATML.format(text) for text in said]) == said
    assert without_template(said) == said
    alone = [CHATML.format("Hello")] * 2
    assert without_template(alone) == alone
