#!/usr/bin/env python3
"""Trains small tokenizers with the `tokenizers` library and writes them with the ids it gives for texts in many scripts.

    pip install tokenizers
    scripts/tokenizer_fixtures.py        # rewrites tests/data/tokenizers/

One tokenizer.json for each shape of pipeline that published decoders use. texts.json: {"version", "texts", "ids": {tokenizer: [ids of
each text, with the template's tokens]}, "decoded": {tokenizer: [text of those ids, special tokens left out]}}."""
import json
import pathlib
import random

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/data/tokenizers"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", " a", "a ", "Hello, world!", "Hello  world   !", "I'll say it's what they've, we're, I'd, I'm, can't",
    "I'LL SAY IT'S WHAT THEY'VE, WE'RE, I'D, I'M, CAN'T", "'S 'ſ 'LL' 'lL 'x ''s", "line one\nline two\n\n\nline five  \n  indented\n\t\ttabbed \r\n\r\n end",
    "x=1;y=22;z=333;w=4444;v=55555 3.14159 1,000,000", "def f(x):\n    return x**2  # square\n", "trailing spaces   ", "   leading spaces",
    "Zażółć gęślą jaźń. Příliš žluťoučký kůň. Ça va? Über größer Straße. İstanbul ığ", "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.", "דג סקרן שט בים מאוכזב", "نص حكيم له سر قاطع وذو شأن عظيم ١٢٣٤٥", "ऋषियों को सताने वाले दुष्ट राक्षसों १२३",
    "นกกาเหว่า กินข้าว ๑๒๓", "我能吞下玻璃而不伤身体。１２３", "私はガラスを食べられます。ｶﾞ", "나는 유리를 먹을 수 있어요.", "한글 한글", "Tôi có thể ăn thủy tinh",
    "e\u0301 \u00e9 a\u0323\u0307 a\u0307\u0323 \u1e69 s\u0323\u0307 \u212b \u2126 \uf900 \u0958 q\u0307\u0323", "\u1100\u1161\u11a8 \uac00\u11a8 \u0cc6\u0cd5 \u09c7\u09be \u0344",
    "👍 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ ☃", "x\u00a0y\u2003z\u3000w\u200bv\u2028u\u2029t\u0085s", "\u0000\u0001\u001f\u007f\u0080\u009f", "½ ⅓ Ⅷ ² ① ৪ 〇 ௧௨",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 𐍈 𒀀", "\ufeffBOM \ufffd \uffff \U0010ffff", "▁ mark ▁▁ <0x41> <0xE2> <unk>", "<s>hi</s> <|eot|> text <|user|>   hello\n<|user|>\n\nx <tool>y</tool>",
    "<|begin|><|begin|>", "a<|user|>b <|user|> c", "<|use", "Ġ Ċ ĠĊ âĢĻ", "MiXeD123abc456_under-score.dot/slash\\back", "!!!???...---===+++", "a" * 70, "ab" * 40, " " * 40 + "x",
    "https://example.org/path?query=1&b=%20#frag", "\"quotes\" ‘single’ “double” «guillemets» — dash … ellipsis", "١٢٣٤ ۱۲۳۴ १२३४ 1234", "ﬁ ﬂ ﬃ ǆ ǅ ß ẞ",
]


def random_texts(count):
    """Strings of characters from classes whose borders matter, so that every rule meets every other."""
    chooser = random.Random(5)
    classes = ["abcdefgXYZ", "0123456789", "   \u00a0", "\n\r\t", "'.,!?-_()", "éüñßж中あ가ع", "٣५²Ⅳ", "\u0301\u0323\u093f\u200d", "👍🏽😀", "'sS'tT'reLL"]
    return ["".join(chooser.choice(chooser.choice(classes)) for _ in range(chooser.randint(1, 24))) for _ in range(count)]


def corpus():
    book = (ROOT / "models/sample/held_out.txt").read_text()[:120000]
    return [line for line in book.splitlines() if line] + TEXTS[9:30] * 3


def byte_level(name, split, normalizer, vocab, special, plain, template, ignore_merges):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(plain)
    if template:
        step = processors.TemplateProcessing(single=f"{template} $A", special_tokens=[(template, tokenizer.token_to_id(template))])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), step])
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return name, tokenizer


def sentence_piece(name, normalizer, pre_tokenizer, decoder, plain):
    """Trained on characters; then the ids 3..258 become the byte tokens, as SentencePiece lays them out."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=1200, limit_alphabet=180, show_progress=False))
    pieces = json.loads(trained.to_str())["model"]
    order = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    order += [t for t in sorted(pieces["vocab"], key=pieces["vocab"].get) if t not in order]
    if "▁" not in order:
        order.append("▁")
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in pieces["merges"]]
    model = models.BPE({t: i for i, t in enumerate(order)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_special_tokens(plain)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return name, tokenizer


def main():
    level = pre_tokenizers.ByteLevel
    isolated = lambda expression: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), level(add_prefix_space=False, use_regex=False)])
    mark = normalizers.Replace(" ", "▁")
    llama_decoder = lambda *more: decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *more])
    special = lambda text, **more: AddedToken(text, special=True, normalized=False, **more)
    made = [
        byte_level("gpt2", level(add_prefix_space=False), None, 900, [special("<|eot|>")], [], None, False),
        byte_level("gpt2_prefix", level(add_prefix_space=True), None, 500, [], [AddedToken("<|user|>", normalized=True)], None, False),
        byte_level("llama3", isolated(LLAMA3), None, 900, [special("<|begin|>"), special("<|eot|>")], [], "<|begin|>", True),
        byte_level("qwen2", isolated(QWEN2), normalizers.NFC(), 900, [special("<|eot|>")],
                   [AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=False)], None, False),
        sentence_piece("llama2", normalizers.Sequence([normalizers.Prepend("▁"), mark]), None, llama_decoder(decoders.Strip(" ", 1, 0)), []),
        sentence_piece("phi3", normalizers.Sequence([normalizers.Prepend("▁"), mark]), None, llama_decoder(decoders.Strip(" ", 1, 0)),
                       [special("<|user|>", rstrip=True), special("<|eot|>", lstrip=True, rstrip=True)]),
        sentence_piece("mistral", None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first", split=False)]), []),
        sentence_piece("gemma", mark, pre_tokenizers.Split(" ", "merged_with_previous"), llama_decoder(), [special("<|user|>")]),
    ]
    OUT.mkdir(parents=True, exist_ok=True)
    texts = TEXTS + random_texts(150)
    ids, decoded = {}, {}
    for name, tokenizer in made:
        tokenizer.save(str(OUT / f"{name}.json"), pretty=False)
        tokenizer = Tokenizer.from_file(str(OUT / f"{name}.json"))
        ids[name] = [tokenizer.encode(text).ids for text in texts]
        decoded[name] = [tokenizer.decode(row, skip_special_tokens=True) for row in ids[name]]
    result = {"version": tokenizers.__version__, "texts": texts, "ids": ids, "decoded": decoded}
    (OUT / "texts.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
