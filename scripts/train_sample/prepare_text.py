#!/usr/bin/env python3
"""Builds the sample model's text from two Debian packages.

    apt-get install bible-kjv r-cran-janeaustenr
    prepare_text.py --out DIR

Writes DIR/train.bin, DIR/validation.bin, DIR/held_out.txt and DIR/calibration.txt.

* r-cran-janeaustenr: the six novels of Jane Austen (1775-1817), published 1811-1818, in the public domain. The package's own
  MIT licence covers its code. The novels lie in an R lazy-load database, which read_lazy_load() opens without R.
* bible-kjv-text: the King James Version (1611). The package's copyright file states that the text's copyright is expired.

A document is a novel or a book of the Bible. The last 2.5 % of every document are held out, the 1 % before that is for
validation (choosing among runs), the rest is for training: the three never share a sentence, and the held-out part is looked at
once, at the end. Documents of the training text are separated by one NUL byte, which is also the model's begin-of-sequence id.
calibration.txt is the last 1 % of every document's training text: what a quantizer may look at."""
import argparse
import bz2
import lzma
import pathlib
import re
import struct
import subprocess
import zlib

NOVELS = ["sensesensibility", "prideprejudice", "mansfieldpark", "emma", "northangerabbey", "persuasion"]
HELD_OUT, VALIDATION = 0.025, 0.01
CALIBRATION = 0.01  # of the training text


def read_serialized(data):
    """R's XDR serialization -> nested Python values, for the types that a lazy-load index and a character vector use."""
    position, references = 0, []

    def take(format_):
        nonlocal position
        values = struct.unpack_from(">" + format_, data, position)
        position += struct.calcsize(">" + format_)
        return values[0]

    def attributes():
        pairs = {}
        while True:
            flags = take("i")
            if flags & 255 == 254:
                return pairs
            name = item()
            pairs[name] = item()

    def item():
        nonlocal position
        flags = take("i")
        kind, has_attributes = flags & 255, flags >> 9 & 1
        if kind == 1:  # symbol
            references.append(item())
            return references[-1]
        if kind == 255:  # a symbol seen before
            return references[(flags >> 8) - 1]
        if kind == 254:
            return None
        if kind == 9:  # one string
            length = take("i")
            if length < 0:
                return ""
            position += length
            return bytes(data[position - length : position])
        if kind in (10, 13):
            value = [take("i") for _ in range(take("i"))]
        elif kind in (16, 19):
            value = [item() for _ in range(take("i"))]
        else:
            raise ValueError(f"R type {kind} is not expected here")
        if has_attributes:
            names = attributes().get(b"names")
            if names:
                value = dict(zip((n.decode() for n in names), value))
        return value

    if data[:2] != b"X\n":
        raise ValueError("not R's XDR serialization")
    position = 2
    version = take("i")
    take("i"), take("i")
    if version >= 3:
        length = take("i")
        position += length
    return item()


def read_lazy_load(stem):
    """R lazy-load database -> {name: value}."""
    index = read_serialized(zlib.decompress(stem.with_suffix(".rdx").read_bytes(), 31))
    data = stem.with_suffix(".rdb").read_bytes()
    result = {}
    for name, (offset, length) in index["variables"].items():
        blob = data[offset + 4 : offset + length]
        if index["compressed"][0] == 1:
            blob = zlib.decompress(blob)
        else:
            kind, blob = blob[:1], blob[1:]
            if kind == b"Z":
                blob = lzma.decompress(blob, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}])
            elif kind == b"2":
                blob = bz2.decompress(blob)
        result[name] = read_serialized(blob)
    return result


def novel_paragraphs(lines):
    """Lines broken at 70 columns -> paragraphs, one line each."""
    text = "\n".join(line.decode("utf-8").rstrip() for line in lines)
    paragraphs = (" ".join(p.split()) for p in re.split(r"\n\s*\n", text))
    return [p for p in paragraphs if p]


def bible_books():
    """-> (name, verses) per book, a chapter's first verse led by 'Chapter n'."""
    out = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True).stdout
    books = []
    for line in out.splitlines():
        found = re.match(r"([0-9]?[A-Za-z]+)(\d+):(\d+) (.*)", line)
        if not found:
            raise ValueError(f"unexpected line of bible -f: {line!r}")
        book, chapter, verse, text = found.groups()
        if not books or books[-1][0] != book:
            books.append((book, []))
        books[-1][1].append((f"\nChapter {chapter}\n\n" if verse == "1" else "") + text)
    return books


def split(parts):
    """Parts in order -> (training, validation, held out), cut where the shares of bytes are passed."""
    total, seen, result = sum(len(p.encode()) for p in parts), 0, ([], [], [])
    for part in parts:
        middle = (seen + len(part.encode()) / 2) / total
        result[(middle > 1 - HELD_OUT - VALIDATION) + (middle > 1 - HELD_OUT)].append(part)
        seen += len(part.encode())
    return result


def tail(parts, share):
    """The parts that lie in the last share of the bytes."""
    total, seen, result = sum(len(p.encode()) for p in parts), 0, []
    for part in parts:
        if seen + len(part.encode()) / 2 > (1 - share) * total:
            result.append(part)
        seen += len(part.encode())
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--novels", type=pathlib.Path, default="/usr/lib/R/site-library/janeaustenr/data/Rdata")
    options = parser.parse_args()
    texts, calibration = ([], [], []), []
    novels = read_lazy_load(options.novels)
    documents = [("\n\n", novel_paragraphs(novels[name])) for name in NOVELS]
    documents += [("\n", verses) for _, verses in bible_books()]
    for separator, document in documents:
        shares = split(document)
        for target, parts in zip(texts, shares):
            target.append(separator.join(parts))
        calibration.append(separator.join(tail(shares[0], CALIBRATION)))
    options.out.mkdir(parents=True, exist_ok=True)
    train, validation, held_out = ([t for t in part if t] for part in texts)
    (options.out / "train.bin").write_bytes(b"".join(b"\0" + t.strip().encode() for t in train) + b"\0")
    (options.out / "validation.bin").write_bytes("\n\n".join(validation).encode())
    (options.out / "held_out.txt").write_bytes("\n\n".join(held_out).encode() + b"\n")
    (options.out / "calibration.txt").write_bytes("\n\n".join(t for t in calibration if t).encode() + b"\n")
    for path in sorted(options.out.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
