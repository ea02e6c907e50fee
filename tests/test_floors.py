"""The structure of the package: imports go down, files are short, tests mirror the package."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
# From the bottom up. A module may import from its own room, its own floor and the floors below; a
# module that has an entry of its own doesn't belong to the floor of its package.
FLOORS = (
    ("errors", "config.__init__"),
    ("files", "lock", "process", "compilation", "remote"),
    ("config.rules", "config.run_config", "config.command_line"),
    ("image",),
    ("networks",),
    ("exact",),
    ("adversarial",),
    ("generator",),
    ("config.generator_rules",),
    ("image_file",),
    ("data",),
    ("payload", "hiding"),
    ("protection", "generators"),
    ("workdir", "evaluation"),
    ("training",),
    ("methods", "experiments"),
    ("config.schema",),
    ("config.validate",),
    ("cli", "scale"),
    ("api", "__init__", "__main__"),
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
MODULES = {
    ".".join(path.relative_to(ROOT / "raeg_jax").with_suffix("").parts): path
    for path in sorted((ROOT / "raeg_jax").rglob("*.py"))
}
PACKAGES = {path.name for path in (ROOT / "raeg_jax").iterdir() if (path / "__init__.py").exists()}
# Tests of how several modules work together, and second files of tests of one module.
SPANNING = {
    "cli/test_bad_input.py",
    "cli/test_killed.py",
    "cli/test_real_generator.py",
    "cli/test_resuming.py",
    "cli/test_turned.py",
    "data/test_damage.py",
    "data/test_shared_images.py",
    "generator/test_guide_fixed.py",
    "generator/test_parity.py",
    "generator/test_unet_portable.py",
    "networks/test_parity.py",
    "protection/test_golden.py",
    "protection/test_learned_patterns.py",
    "protection/test_photographs.py",
    "test_examples.py",
    "test_floors.py",
    "test_project.py",
    "training/test_end_to_end.py",
    "training/test_multi_host.py",
    "training/test_resume.py",
    "training/test_stages.py",
    "workdir/test_run_export.py",
}
MAX_LINES = 400
TOP = len(FLOORS)


def entry(module: str) -> str | None:
    """The entry of `FLOORS` that a module belongs to, by its longest prefix."""
    parts = module.split(".")
    prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in FLOOR_OF), None)


def imports(path: pathlib.Path) -> set[str]:
    """Modules, and names in them, that a file imports from the package, without 'raeg_jax.'."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("raeg_jax.") for name in names if name.startswith("raeg_jax.")}


def test_every_module_is_on_a_floor():
    assert [name for name in MODULES if entry(name) is None] == []
    assert [name for name in FLOOR_OF if name not in MODULES.keys() | PACKAGES] == []


def test_imports_go_down():
    upward = {
        f"{module} -> {name}"
        for module, path in MODULES.items()
        for name in imports(path)
        # What the package itself offers lies on top, but for its version.
        if name != "__version__"
        and FLOOR_OF.get(entry(module), TOP) < FLOOR_OF[entry(name) or "__init__"]
    }
    assert upward == set()


def test_files_are_short():
    paths = [
        path for name in ("raeg_jax", "tests", "benchmarks") for path in (ROOT / name).rglob("*.py")
    ]
    lengths = {path.relative_to(ROOT): path.read_text().count("\n") for path in paths}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_tests_mirror_the_package():
    tests = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    outside = {"oracles", "benchmarks"}
    unmatched = {
        path.as_posix()
        for path in tests
        if path.parts[0] not in outside
        and not (ROOT / "raeg_jax" / path.with_name(path.name.removeprefix("test_"))).exists()
    }
    assert unmatched == SPANNING
