import json
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from raeg_jax.training import logs
from raeg_jax.training.logs import MetricLog, read_rows


def tensorboard_events(workdir):
    """Reads the event files: records of length, checksum, payload, checksum."""
    events = []
    for path in sorted((workdir / logs.TENSORBOARD).iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = event_pb2.Event()
            event.ParseFromString(content[place + 12 : place + 12 + length])
            events.append(event)
            place += length + 16
    return events


def tensorboard_values(workdir):
    return [
        (event.step, value.tag, value)
        for event in tensorboard_events(workdir)
        for value in event.summary.value
    ]


def test_rows_are_json_lines_in_order(tmp_path):
    with MetricLog(tmp_path) as log:
        log.scalars(1, {"loss/total": np.float32(0.5), "psnr": 40})
        log.scalars(2, {"loss/total": 0.25})
    assert read_rows(tmp_path / logs.FILE) == [
        {"step": 1, "loss/total": 0.5, "psnr": 40.0},
        {"step": 2, "loss/total": 0.25},
    ]


def test_a_row_is_on_disk_before_the_log_is_closed(tmp_path):
    log = MetricLog(tmp_path)
    log.scalars(1, {"a": 1.0})
    log.images(2, "grid", np.zeros((2, 2, 3), np.uint8))
    assert read_rows(tmp_path / logs.FILE) == [{"step": 1, "a": 1.0}]
    assert [(step, tag) for step, tag, _ in tensorboard_values(tmp_path)] == [(1, "a"), (2, "grid")]
    log.close()
    log.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_json_lacks_become_words(tmp_path, value):
    with MetricLog(tmp_path) as log:
        log.scalars(1, {"a": value})
    (line,) = (tmp_path / logs.FILE).read_text().splitlines()

    def refuse(name):
        raise AssertionError(name)

    row = json.loads(line, parse_constant=refuse)
    assert row == {"step": 1, "a": str(float(value))}


def test_resuming_drops_rows_of_steps_that_come_again(tmp_path):
    with MetricLog(tmp_path) as log:
        for step in (0, 2, 4, 6):
            log.scalars(step, {"a": step})
    with MetricLog(tmp_path, resume_step=4) as log:
        log.scalars(6, {"a": 60})
    rows = read_rows(tmp_path / logs.FILE)
    assert [(row["step"], row["a"]) for row in rows] == [(0, 0), (2, 2), (4, 4), (6, 60)]


def test_settings_are_logged_when_they_are_others_than_before(tmp_path):
    with MetricLog(tmp_path) as log:
        log.changed(0, {"weight/a": 1, "weight/b": 2})
    for weight in (2, 3, 3):
        with MetricLog(tmp_path, resume_step=4) as log:
            log.changed(4, {"weight/a": 1, "weight/b": weight})
    rows = read_rows(tmp_path / logs.FILE)
    assert [(row["step"], row["weight/b"]) for row in rows] == [(0, 2), (4, 3)]


def test_a_fresh_run_in_an_old_workdir_starts_an_empty_log(tmp_path):
    with MetricLog(tmp_path) as log:
        log.scalars(0, {"a": 1})
    with MetricLog(tmp_path) as log:
        log.scalars(1, {"a": 2})
    assert read_rows(tmp_path / logs.FILE) == [{"step": 1, "a": 2.0}]


def test_a_line_cut_off_by_a_kill_is_forgotten(tmp_path):
    with MetricLog(tmp_path) as log:
        log.scalars(1, {"a": 1})
    with (tmp_path / logs.FILE).open("a") as file:
        file.write('{"step": 2, "a"')
    with MetricLog(tmp_path, resume_step=2) as log:
        log.scalars(3, {"a": 3})
    assert [row["step"] for row in read_rows(tmp_path / logs.FILE)] == [1, 3]


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "missing.jsonl") == []


def test_tensorboard_gets_scalars_and_images(tmp_path):
    picture = np.random.RandomState(0).randint(0, 256, (8, 6, 3)).astype(np.uint8)
    with MetricLog(tmp_path) as log:
        log.scalars(3, {"psnr": 41.5})
        log.images(3, "grid", picture)
    values = {tag: (step, value) for step, tag, value in tensorboard_values(tmp_path)}
    assert values["psnr"][0] == 3
    np.testing.assert_allclose(values["psnr"][1].simple_value, 41.5)
    step, image = values["grid"]
    assert (step, image.image.height, image.image.width) == (3, 8, 6)


def test_tensorboard_drops_steps_that_come_again(tmp_path):
    with MetricLog(tmp_path) as log:
        log.scalars(6, {"a": 1})
    with MetricLog(tmp_path, resume_step=4) as log:
        log.scalars(6, {"a": 2})
    starts = [
        event.step
        for event in tensorboard_events(tmp_path)
        if event.session_log.status == event_pb2.SessionLog.START
    ]
    assert starts == [5]


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "is_main_process", lambda: False)
    with MetricLog(tmp_path / "run") as log:
        log.scalars(1, {"a": 1})
        log.images(1, "grid", np.zeros((2, 2, 3), np.uint8))
    assert not (tmp_path / "run").exists()
