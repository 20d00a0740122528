"""The built-in styles, each asked for in many wordings, so that some can be held out.

An instruction that chose a direction must not be the one that its effect is stated on. Both sides of
a wording are of about the same length, and no two wordings differ in the same words.
"""

from __future__ import annotations

PARAPHRASES: dict[str, tuple[tuple[str, str], ...]] = {
    "terse": (
        ("Answer in as few words as you can.", "Answer in as many words as you can."),
        ("Keep it short.", "Make it long."),
        ("Be brief.", "Be lengthy."),
        ("One sentence is enough.", "One page is the least."),
        ("Get straight to the point.", "Take all the detours you like."),
        ("Leave out every detail.", "Put in every detail."),
        ("I have no time, so be quick.", "I have all day, so be slow."),
        ("Reply as in a telegram.", "Reply as in a novel."),
        ("Give me the summary only.", "Give me the full account."),
        ("Say no more than needed.", "Say far more than asked."),
        ("A concise reply, please.", "An extensive reply, please."),
        ("Cut it down to the core.", "Draw it out to the end."),
    ),
    "formal": (
        (
            "Answer in polished language, as an official letter would.",
            "Answer in relaxed language, as an old friend would.",
        ),
        ("Use a formal tone.", "Use a casual tone."),
        ("Write as for a court.", "Write as for a buddy."),
        ("Be dignified.", "Be chatty."),
        ("Address me as Sir or Madam.", "Address me as mate or pal."),
        ("Keep a professional distance.", "Keep a cosy closeness."),
        ("Write like a diplomat.", "Write like a teenager."),
        ("Choose stately words.", "Choose slangy words."),
        ("Respond in ceremonious style.", "Respond in laid-back style."),
        ("Speak as a judge speaks.", "Speak as a neighbour speaks."),
        ("No contractions, no slang.", "Contractions and slang, always."),
        ("As in a contract, please.", "As in a text message, please."),
    ),
    "socratic": (
        (
            "Answer with questions that let me find the solution.",
            "Answer with statements that tell me the solution.",
        ),
        ("Ask me, do not tell me.", "Tell me, do not ask me."),
        ("Lead me by questioning.", "Lead me by explaining."),
        ("Let me discover it myself.", "Let me read it from you."),
        ("Reply like Socrates.", "Reply like an encyclopedia."),
        ("Make me think it through.", "Make me a finished list."),
        ("Respond only in question marks.", "Respond only in full stops."),
        ("Guide my reasoning with queries.", "Replace my reasoning with facts."),
        ("Probe what I already know.", "Present what you already know."),
        ("Be a curious tutor.", "Be a plain lecturer."),
        ("Turn the problem back to me.", "Take the problem off me."),
        ("What would you ask me first?", "What would you teach me first?"),
    ),
    "dry_wit": (
        ("Answer with a straight face and a dry joke.", "Answer with a straight face and no joke."),
        ("Be deadpan and funny.", "Be earnest and sober."),
        ("Add some irony.", "Add some sincerity."),
        ("Use understated humour.", "Use understated seriousness."),
        ("Reply as a sardonic butler.", "Reply as a sincere butler."),
        ("Make me smile without smiling.", "Make me learn without smiling."),
        ("A wry reply, please.", "A grave reply, please."),
        ("Be witty in few gestures.", "Be factual in few gestures."),
        ("Slip in a quiet jest.", "Slip in a quiet caveat."),
        ("Sound amused but calm.", "Sound neutral but calm."),
        ("Write with a raised eyebrow.", "Write with a level look."),
        ("Mock the matter gently.", "Treat the matter gravely."),
    ),
}
