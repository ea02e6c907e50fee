import hashlib
import os
import re

import numpy as np
import pytest
import safetensors.numpy

from raeg_jax.errors import UserError
from raeg_jax.protection import generator_file

DESCRIPTION = {"classes": ["a", "ü"], "rate": 0.1, "nested": {"b": 1, "a": None}}
ARRAYS = {
    "params/kernel": np.arange(-500, 500, dtype=np.float32).reshape(10, 25, 4) / 7,
    "params/bias": np.float32([[1, 2], [3, 4]]).T,
    "scalar": np.array(np.pi, np.float32),
    "none": np.zeros((0, 3), np.float32),
    "special": np.float32([np.nan, np.inf, -0.0, 1e-45]),
    "bytes": np.int8([[-128, 127], [0, 1]]),
    "whole": np.int32([-(2**31), 2**31 - 1]),
}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "generator"
    generator_file.write(path, DESCRIPTION, ARRAYS)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path, content):
    path = tmp_path / "generator"
    path.write_bytes(content)
    return path


def test_description_and_arrays_come_back_bit_for_bit(path):
    description, arrays = generator_file.read(path)
    assert description == DESCRIPTION
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_the_same_content_gives_the_same_bytes_in_whatever_order(path, content):
    def turned(content):
        return dict(reversed(content.items()))

    nested = {**turned(DESCRIPTION), "nested": turned(DESCRIPTION["nested"])}
    generator_file.write(path, nested, turned(ARRAYS), overwrite=True)
    assert path.read_bytes() == content


def test_the_digest_tells_names_shapes_types_and_values_apart():
    array = np.zeros((2, 3), np.float32)
    digests = [
        generator_file.digest(description, arrays)
        for description, arrays in (
            ({}, {"a": array}),
            ({}, {"b": array}),
            ({}, {"a": array.T}),
            ({}, {"a": -array}),
            ({}, {"a": array, "b": array[:0]}),
            ({"a": 0}, {"a": array}),
            ({}, {"a": array.astype(np.int32)}),
            ({}, {"a": array.astype(np.int8)}),
        )
    ]
    assert len(set(digests)) == len(digests)


def test_digests_are_made_as_documented():
    written = b'{"a":[0.1,null]}\n["x",[1,2]]\n' + bytes.fromhex("0000803f 00000040")
    written += b'["y",[1],"int32"]\n' + bytes.fromhex("feffffff")
    arrays = {"x": np.array([[1, 2]], ">f4"), "y": np.array([-2], ">i4")}
    digest = generator_file.digest({"a": (0.1, None)}, arrays)
    assert digest == hashlib.sha256(written).digest()


def test_other_types_of_numbers_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="half is float16, none of float32, int8, int32"):
        generator_file.write(tmp_path / "generator", {}, {"half": np.zeros(1, np.float16)})
    assert not os.listdir(tmp_path)


def test_a_file_is_only_replaced_if_asked(tmp_path, content):
    path = tmp_path / "generator"
    path.write_text("precious")
    with pytest.raises(UserError, match=f"{path} exists, .*: choose another name"):
        generator_file.write(path, DESCRIPTION, ARRAYS)
    assert path.read_text() == "precious"
    generator_file.write(path, DESCRIPTION, ARRAYS, overwrite=True)
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none" / "generator"
    with pytest.raises(UserError, match=f"can't write {path}: No such file"):
        generator_file.write(path, {}, {})


def test_a_missing_file_and_a_workdir_are_told_apart(tmp_path):
    with pytest.raises(UserError, match=f"there is no generator file {tmp_path}/none: "):
        generator_file.read(tmp_path / "none")
    with pytest.raises(UserError, match=f"is a folder, .*`raeg export {tmp_path} FILE`"):
        generator_file.read(tmp_path)


@pytest.mark.parametrize(
    "start",
    [b"", b"\x89PNG\r\n\x1a\n" * 99, safetensors.numpy.save({"a": np.zeros(3)}, {"format": "np"})],
    ids=["empty", "image", "safetensors"],
)
def test_other_files_are_named(start, path):
    path.write_bytes(start)
    with pytest.raises(UserError, match=f"{path} is no generator file"):
        generator_file.read(path)


def test_a_pipe_does_not_wait_for_ever(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is no generator file"):
        generator_file.read(tmp_path / "pipe")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999, 1.001])
def test_a_file_of_the_wrong_length_is_damaged(share, path, content):
    size = round(share * len(content))
    path.write_bytes((content + bytes(size))[:size])
    with pytest.raises(UserError, match=f"{path} is damaged or cut off: take it from your copy"):
        generator_file.read(path)


def test_no_changed_bit_goes_unnoticed(path, content):
    # Each kind of place, not each byte: headers repeat themselves.
    told = f"{re.escape(str(path))} (is damaged|is no generator|is larger|has format)"
    # JSON may end in spaces, and other space does as well.
    end = content.rindex(b"}") + 1
    data = 8 + int.from_bytes(content[:8], "little")
    for place in [*range(0, end, 5), *range(data, len(content), 97)]:
        changed = bytearray(content)
        changed[place] ^= 1 << place % 7
        path.write_bytes(changed)
        with pytest.raises(UserError, match=told):
            generator_file.read(path)


def test_a_later_format_asks_for_an_update(path, content):
    path.write_bytes(content.replace(b'\\"format\\":1', b'\\"format\\":7'))
    with pytest.raises(UserError, match=r"has format 7, .* reads up to 1: update raeg-jax"):
        generator_file.read(path)


def test_larger_files_than_any_generator_are_not_loaded(path, content):
    with path.open("ab") as sparse:
        sparse.truncate(2**33)
    with pytest.raises(UserError, match=f"{path} is larger than any generator"):
        generator_file.read(path)
    path.write_bytes((2**30).to_bytes(8, "little") + content[8:])
    with pytest.raises(UserError, match=f"{path} is larger than any generator"):
        generator_file.read(path)


@pytest.mark.parametrize(
    ("field", "arrays"),
    [
        ("[" * 10**5, {}),
        ("[]", {}),
        ("{", {}),
        ("{}", {}),
        ('{"format": "1"}', {}),
        ('{"format": 1}', {}),
        ('{"format": 1, "sha256": 5}', {"x": np.zeros(2, np.float64)}),
        ('{"format": 1}', {str(i): np.zeros(0, np.float32) for i in range(10_001)}),
    ],
    ids=["deep", "list", "open", "empty", "text", "no checksum", "float64", "many arrays"],
)
def test_malformed_headers_are_damaged_files(field, arrays, path):
    path.write_bytes(safetensors.numpy.save(arrays, {"raeg_generator": field}))
    with pytest.raises(UserError, match=f"{path} is damaged or cut off"):
        generator_file.read(path)
