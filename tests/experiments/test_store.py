"""Results stay in files, and are missing when what they come from has changed."""

from raeg_jax.experiments.store import Store, Unit


def unit(calls, name="a/b", **depends):
    def measure():
        calls.append(name)
        return {"value": len(calls)}

    return Unit(name, 1.0, measure, depends)


def test_what_is_measured_is_found_again(tmp_path):
    calls = []
    store = Store(tmp_path, {"seed": 0, "psnrs": (1, 2)})
    assert store.find(unit(calls)) is None
    measured = store.measure(unit(calls))
    assert measured["result"] == {"value": 1}
    assert measured["seconds"] >= 0
    again = Store(tmp_path, {"seed": 0, "psnrs": (1, 2)}).find(unit(calls))
    assert again == measured
    assert calls == ["a/b"]


def test_another_origin_or_setting_counts_as_missing(tmp_path):
    store = Store(tmp_path, {"seed": 0})
    store.measure(unit([], images=5))
    assert store.find(unit([], images=5))
    assert store.find(unit([], images=6)) is None
    assert Store(tmp_path, {"seed": 1}).find(unit([], images=5)) is None


def test_what_a_unit_ignores_may_change(tmp_path):
    def ignoring():
        return unit([])._replace(ignores=("step", "settings.generator", "settings.none.at"))

    settings = {"generator": {"a": 1}, "augment": 2}
    Store(tmp_path, {"step": 1, "settings": settings}).measure(ignoring())
    other = settings | {"generator": {"a": 5, "b": 6}}
    assert Store(tmp_path, {"step": 7, "settings": other}).find(ignoring())
    other = settings | {"augment": 3}
    assert Store(tmp_path, {"step": 1, "settings": other}).find(ignoring()) is None


def test_a_broken_file_counts_as_missing(tmp_path):
    store = Store(tmp_path, {})
    store.measure(unit([]))
    for content in ("", "{", "[]", "{}", "3"):
        (tmp_path / "a" / "b.json").write_text(content)
        assert store.find(unit([])) is None
