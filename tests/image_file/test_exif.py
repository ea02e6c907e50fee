"""EXIF blocks are changed in place, and previews are gone."""

import io
import struct

import pytest
from PIL import Image

from raeg_jax.image_file import exif as exif_lib
from tests.image_file.files import encode

NOTE = b"a maker's note with offsets inside"
PREVIEW = b"\xff\xd8 the unprotected picture \xff\xd9"


def block(order="<", orientation=6, preview=PREVIEW, kind="jpeg"):
    """An EXIF block by hand: IFD0 with orientation and a note, IFD1 with a preview."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)

    def entry(tag, form, *values):
        code = {"H": 3, "I": 4, "s": 7}[form[-1]]
        packed = struct.pack(order + form, *values)
        count = len(packed) if code == 7 else len(values)
        return struct.pack(order + "HHI", tag, code, count) + packed.ljust(4, b"\0")

    def directory(entries, following):
        return struct.pack(order + "H", len(entries)) + b"".join(entries) + following

    note_at = 8 + 2 + 2 * 12 + 4
    second_at = note_at + len(NOTE)
    preview_at = second_at + 2 + 3 * 12 + 4
    pointer = struct.pack(order + "I", note_at)
    maker = struct.pack(order + "HHI", 0x927C, 7, len(NOTE)) + pointer
    first = directory(
        [entry(0x0112, "H", orientation), maker],
        struct.pack(order + "I", second_at if preview else 0),
    )
    data = head + first + NOTE
    if not preview:
        return data
    if kind == "jpeg":
        places = [entry(0x0201, "I", preview_at), entry(0x0202, "I", len(preview))]
    else:
        # Two strips, and both lists too long to stand in the entries' own four bytes.
        half = len(preview) // 2
        lists = struct.pack(order + "4I", preview_at, preview_at + half, half, len(preview) - half)
        at = preview_at + len(preview)
        places = [
            struct.pack(order + "HHII", 0x0111, 4, 2, at),
            struct.pack(order + "HHII", 0x0117, 4, 2, at + 8),
        ]
        preview += lists
    return data + directory([entry(0x0103, "H", 6), *places], bytes(4)) + preview


def tag(exif, number=0x0112):
    return exif_lib.parse_tags(exif).get(number)


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_overwritten_in_place(order):
    original = block(order, orientation=6)
    for orientation in range(1, 9):
        changed = exif_lib.with_orientation(original, orientation)
        assert tag(changed) == orientation
        assert changed == block(order, orientation)
    assert exif_lib.with_orientation(exif_lib.with_orientation(original, 1), 6) == original


def test_orientation_is_added_where_there_is_none():
    assert exif_lib.with_orientation(b"", 1) == b""
    assert tag(exif_lib.with_orientation(b"", 8)) == 8
    other = Image.Exif()
    other[0x010F] = "a maker"
    exif = other.tobytes().removeprefix(exif_lib.PREFIX)
    assert exif_lib.with_orientation(exif, 1) == exif
    changed = exif_lib.with_orientation(exif, 3)
    assert (tag(changed), tag(changed, 0x010F)) == (3, "a maker")
    # Nothing is moved: notes keep their inner offsets, and values that make no sense stay.
    odd = block(preview=b"").replace(struct.pack("<H", 0x0112), struct.pack("<H", 0x0100), 1) + b"!"
    changed = exif_lib.with_orientation(odd, 8)
    assert (tag(changed), tag(changed, 0x0100)) == (8, 6)
    assert changed[8:].startswith(odd[8:])
    assert changed.index(NOTE) == odd.index(NOTE)
    assert exif_lib.with_orientation(changed, 1)[8:].startswith(odd[8:])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["jpeg", "strips"])
def test_a_preview_is_blanked_and_the_rest_stays(order, kind):
    original = block(order, kind=kind)
    cleaned = exif_lib.without_preview(original)
    assert b"unprotected" in original
    assert b"unprotected" not in cleaned
    assert len(cleaned) == len(original)
    # All but the link to the second directory, and that directory, is what it was.
    link = 8 + 2 + 2 * 12
    assert cleaned[:link] == original[:link]
    assert cleaned[link : link + 4] == bytes(4)
    assert cleaned[link + 4 :].startswith(NOTE)
    assert not any(cleaned[link + 4 + len(NOTE) : original.index(PREVIEW) + len(PREVIEW)])
    assert exif_lib.parse_tags(cleaned).get_ifd(1) == {}


def test_a_preview_that_would_take_the_tags_with_it_is_told():
    original = block()
    place = original.index(struct.pack("<HHI", 0x0201, 4, 1)) + 8
    for start in (0, 8, 12):
        damaged = original[:place] + struct.pack("<I", start) + original[place + 4 :]
        with pytest.raises(ValueError, match="lies over"):
            exif_lib.without_preview(damaged)
    # The second directory is the first one again.
    link = 8 + 2 + 2 * 12
    with pytest.raises(ValueError, match="lies over"):
        exif_lib.without_preview(original[:link] + struct.pack("<I", 8) + original[link + 4 :])


def test_a_preview_of_unknown_length_is_told():
    original = block(kind="strips")
    unknown = original.replace(struct.pack("<HHI", 0x0117, 4, 2), struct.pack("<HHI", 0x0118, 4, 2))
    assert exif_lib.has_preview(original)
    assert exif_lib.has_preview(unknown)
    assert not exif_lib.has_preview(exif_lib.without_preview(original))
    assert not exif_lib.has_preview(original[:40])
    # A list without numbers, and one of a type that no length has.
    for count, kind in ((0, 4), (2, 7)):
        odd = original.replace(
            struct.pack("<HHI", 0x0117, 4, 2), struct.pack("<HHI", 0x0117, kind, count)
        )
        assert exif_lib.has_preview(odd)
        with pytest.raises(ValueError, match=r"shorter|type 7"):
            exif_lib.without_preview(odd)
    with pytest.raises(ValueError, match="nothing says how long"):
        exif_lib.without_preview(unknown)


def test_cleaned_blocks_stay():
    cleaned = exif_lib.without_preview(block())
    assert exif_lib.without_preview(cleaned) == cleaned
    for tags in ((0x0201, 0x0202), (0x0111, 0x0117)):
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, 60) for tag in tags)
        exif = b"II*\0\x08\0\0\0\2\0" + entries + bytes(4) + b"x" * 99
        once = exif_lib.without_preview(exif)
        assert once[60:].count(b"x") == 137 - 120
        assert exif_lib.without_preview(once) == once


def test_a_block_without_preview_stays():
    for exif in (b"", block(preview=b"")):
        assert exif_lib.without_preview(exif) == exif


@pytest.mark.parametrize("bad", [b"no EXIF", block()[:30], b"II*\0\xff\xff\xff\xff"])
def test_damaged_blocks_are_told(bad):
    for change in (exif_lib.without_preview, lambda exif: exif_lib.with_orientation(exif, 2)):
        with pytest.raises((struct.error, ValueError)):
            change(bad)


def test_a_camera_like_file_keeps_its_tags_when_saved_again():
    """What Pillow writes and reads agrees with the changes in place."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 5, "Maker"
    exif.get_ifd(0x8769)[0x927C] = NOTE
    with Image.open(io.BytesIO(encode("JPEG", exif=exif))) as image:
        stored = image.info["exif"].removeprefix(exif_lib.PREFIX)
    changed = exif_lib.parse_tags(exif_lib.without_preview(exif_lib.with_orientation(stored, 1)))
    assert (changed[0x0112], changed[0x010F]) == (1, "Maker")
    assert changed.get_ifd(0x8769)[0x927C] == NOTE
