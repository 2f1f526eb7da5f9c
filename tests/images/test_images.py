"""What goes into the images, what is kept of them, and, as root on Linux, that they run as on a node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.controlplane.programs import cache_directory, locked
from tests.images import base_image, buildah, images, registries
from tests.images.archives import appearing_whole, configuration, layers, sizes, use
from tests.images.errors import ImagesUnavailableError
from tests.images.images import IMAGES, PAUSE, Image, key
from tests.images.unpacked import Container
from tests.waiting import PATIENCE_SECONDS

BY_NAME = {image.name: image for image in IMAGES}
REFERENCE = (CHECKOUT / "docs/reference.md").read_text()
OURS = ("agent_client", "blessings", "certs", "cluster_agent", "pod_agent", "service", "webhook")
LIBRARY_OF = {
    "agent_client.asgi": "uvicorn",
    "service.certificate_ends": "prometheus_client",
    "service.cluster_agent_client": "httpx",
    "service.memory": "ctypes",
    "service.structlog_lines": "structlog",
    "service.program_metrics": "prometheus_client",
    "service.uvicorn_server": "uvicorn",
    "service.watch_age": "prometheus_client",
}
PROGRAMS = {"pod-agent": "pod_agent", "cluster-agent": "cluster_agent", "webhook": "webhook"}


def copied(checkout: Path, image: Image) -> Path:
    """A copy of what the image is built from."""
    for source in (image.container_file, *image.sources):
        target = checkout / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / source).is_dir():
            shutil.copytree(CHECKOUT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / source, target)
    return checkout


# What goes in, and what is kept


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_the_key_changes_with_every_file_that_goes_into_the_image(image: Image, tmp_path: Path) -> None:
    checkout = copied(tmp_path, image)
    seen = {key(image, checkout)}
    for source in (image.container_file, *image.sources):
        path = checkout / source
        file = next(path.rglob("*.py")) if path.is_dir() else path
        file.write_bytes(file.read_bytes() + b"\n# changed\n")
        seen.add(key(image, checkout))
    assert len(seen) == 2 + len(image.sources)


@pytest.mark.parametrize(
    "image", [image for image in IMAGES if image.reference != PAUSE], ids=lambda i: i.name
)
def test_the_key_covers_all_that_the_container_file_copies(image: Image) -> None:
    text = (CHECKOUT / image.container_file).read_text()
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert sources
    assert set(sources) <= set(image.sources)


def test_the_container_files_start_from_nothing_but_the_base_that_is_made_here() -> None:
    started_from = {
        line.split()[1]
        for image in IMAGES
        for line in (CHECKOUT / image.container_file).read_text().splitlines()
        if line.startswith("FROM")
    }
    assert started_from == {base_image.REFERENCE.removeprefix("docker.io/library/"), "scratch"}


def test_the_container_files_install_with_the_uv_of_the_makefile() -> None:
    (version,) = re.findall(r"^UV_VERSION := (\S+)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    installed = {
        found
        for image in IMAGES
        for found in re.findall(r"\buv==(\S+)", (CHECKOUT / image.container_file).read_text())
    }
    assert installed == {version}


def test_a_stray_file_of_a_developer_goes_into_no_image(tmp_path: Path) -> None:
    package, environment, root = tmp_path / "package", tmp_path / "environment", tmp_path / "root"
    (environment / "lib/python3.11/site-packages").mkdir(parents=True)
    package.mkdir()
    for name in ("module.py", "schema.json", "key.pem", ".env", "store.sqlite3"):
        (package / name).touch()
    assemble = [CHECKOUT / "deploy/images/root.py", "program", environment, root, package]
    subprocess.run([sys.executable, *map(str, assemble)], check=True)
    names = {path.name for path in root.rglob("*") if path.is_file()}
    assert {name for name in names if not name.endswith(".pyc")} == {"module.py", "schema.json"}


def test_what_is_built_already_needs_neither_root_nor_programs(tmp_path: Path) -> None:
    environment = {"VANADIUM_CACHE": str(tmp_path), "PATH": ""}
    cache = tmp_path / "images"
    cache.mkdir()
    for image in IMAGES:
        (cache / f"{image.name}-{key(image)}.tar").touch()
    found = images.images(pytest.fail, environment)
    assert sorted(found) == sorted(image.reference for image in IMAGES)


def test_all_that_is_missing_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ImagesUnavailableError) as caught:
        images.images(pytest.fail, {"VANADIUM_CACHE": str(tmp_path), "PATH": str(tmp_path)})
    assert re.search(r"root is needed.*buildah, mmdebstrap, .*apt-get install buildah ", str(caught.value))


def test_another_system_than_linux_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ImagesUnavailableError, match="Linux, and this is darwin"):
        buildah.check_requirements({})


def test_an_interrupted_build_leaves_no_half_archive(tmp_path: Path) -> None:
    archive = tmp_path / "pod-agent-0123456789abcdef.tar"

    def interrupted() -> None:
        with appearing_whole(archive) as unfinished:
            unfinished.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with appearing_whole(archive) as unfinished:
        unfinished.write_bytes(b"whole")
        assert not archive.exists()
    assert archive.read_bytes() == b"whole"


def test_the_last_used_archives_of_a_name_are_kept_and_those_of_others_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f"agent-{'0' * 16}.tar"
    other.touch()
    archives = [tmp_path / f"pod-agent-{number:016x}.tar" for number in range(5)]
    for age, archive in enumerate(archives):
        archive.touch()
        os.utime(archive, (age, age))
    use(archives[0])
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in (other, archives[0], archives[3], archives[4])
    }


# The registries of this machine


def test_pip_gets_this_machines_index_and_none_of_its_directories() -> None:
    written = registries.pip_configuration(
        {
            **os.environ,
            "PIP_INDEX_URL": "https://user:secret@index.example/simple",
            "PIP_FIND_LINKS": "/somewhere",
        }
    )
    assert "index-url = https://user:secret@index.example/simple\n" in written
    assert "/somewhere" not in written


def test_uv_gets_this_machines_indexes() -> None:
    written = registries.uv_configuration(
        {"UV_DEFAULT_INDEX": "https://index.example/simple", "UV_EXTRA_INDEX_URL": "https://a https://b"}
    )
    assert 'index-url = "https://index.example/simple"\n' in written
    assert 'extra-index-url = ["https://a", "https://b"]\n' in written


# Run as a kubelet runs them. Needs root.


@pytest.fixture(scope="session", params=[*PROGRAMS, "fortune"])
def container(
    request: pytest.FixtureRequest, built_images: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    directory = tmp_path_factory.mktemp(request.param)
    yield Container(built_images[request.param], directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def pod_agent(built_images: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Container:
    return Container(built_images["pod-agent"], tmp_path_factory.mktemp("the-pod-agent"))


def test_the_image_starts_without_root_privileges_or_a_writable_file_system(container: Container) -> None:
    code, output = container.run("--help")
    assert (code, output.split()[0]) == (0, "usage:")


def test_every_module_of_ours_in_the_image_finds_what_it_imports(container: Container) -> None:
    code, output = container.python(
        "import importlib, os, pkgutil\n"
        f"for name in {(*OURS, 'fortune')}:\n"
        "    package = importlib.util.find_spec(name)\n"
        "    if package is None:\n"
        "        continue\n"
        "    for found in pkgutil.walk_packages(package.submodule_search_locations, name + '.'):\n"
        "        # What other programs use of the shared code, and this one has no library for.\n"
        f"        library = {LIBRARY_OF}.get(found.name)\n"
        "        if library and not importlib.util.find_spec(library):\n"
        "            continue\n"
        "        importlib.import_module(found.name)\n"
        "        print(found.name)\n"
        "assert os.getuid() == (58193 if importlib.util.find_spec('pod_agent') else 65532)\n"
    )
    assert code == 0, output
    assert "blessings.verification.verifier" in output


def test_the_image_has_the_typed_client_of_the_agent_protocol(
    built_images: dict[str, Path], tmp_path: Path
) -> None:
    """Of the sample application's: what docs/ tells applications to import."""
    code, output = Container(built_images["fortune"], tmp_path).run(
        entrypoint=["python", "-c", "import spiffe; from agent_client import AgentClient"]
    )
    assert code == 0, output


def test_a_pod_agent_without_a_credential_says_so_and_waits(pod_agent: Container) -> None:
    process = pod_agent.start()
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if "credential.json" in line:
                break
        assert "credential.json" in said
        assert "Traceback" not in said
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)


# Loads the program as the start does, and prints what Python compiled (but no names in types) and which
# directories it read; then an error's traceback.
_START = """
import runpy, sys
start = runpy.run_path("/opt/vanadium/start.pyc", run_name="start")
events, finders = [], sys.meta_path[:]
sys.addaudithook(lambda event, about: events.append((event, *about)))
start["program"]()
names = [about[0] for event, *about in events if event == "import"]
compiled = [about[0] for event, *about in events if event == "compile" and not about[0].isalnum()]
read = [about[0] for event, *about in events if event in ("os.listdir", "os.scandir")]
print(len(names), compiled, read)
import dataclasses, gc, re, traceback
print(sys.meta_path == finders, gc.isenabled())
print(bool(re.fullmatch("afterwards [0-9]+", "afterwards 1")))
print(dataclasses.make_dataclass("Afterwards", ["field"])(1))
try:
    sys.modules["pod_agent.renewal"].renewal_time(None, None, None)
except TypeError:
    print(traceback.format_exc())
"""


def test_the_start_looks_for_no_module_and_compiles_nothing(pod_agent: Container) -> None:
    code, output = pod_agent.run(entrypoint=["/opt/vanadium/bin/python", "-I", "-S", "-OO", "-c", _START])
    assert code == 0, output
    found, *shown = output.splitlines()
    assert re.fullmatch(r"[23]\d\d \[\] \[\]", found), output
    assert shown[:3] == ["True True", "True", "Afterwards(field=1)"], "what comes later is loaded as usual"
    assert "half = (not_after - received) / 2" in map(str.strip, shown), "our sources, in tracebacks"


def test_a_kubelet_finds_the_probe_in_the_path_and_it_runs_by_itself(pod_agent: Container) -> None:
    code, output = pod_agent.run(entrypoint=["pod-agent-probe"])
    assert (code, output.strip()) == (1, "the pod agent does not answer: No such file or directory")


def test_the_image_has_no_shell_no_installer_and_no_privileged_file(container: Container) -> None:
    files = [path for path in container.root.rglob("*") if path.is_file() and not path.is_symlink()]
    programs = {
        path.name
        for path in files
        if path.stat().st_mode & 0o111
        and ".so" not in path.name
        and path.read_bytes()[:2] in (b"\x7fE", b"#!")
    }
    assert programs - {"pod-agent-probe"} == {"python3.11"}
    privileged = [path for path in files if path.stat().st_mode & 0o6000]
    assert privileged == []


def test_nothing_in_the_image_belongs_to_its_user_or_is_writable_to_it(container: Container) -> None:
    writable = [
        path
        for path in container.root.rglob("*")
        if not path.is_symlink() and (path.stat().st_mode & 0o002 or path.stat().st_uid)
    ]
    assert writable == [container.root / "tmp"]


def test_every_module_in_the_image_is_compiled(container: Container) -> None:
    sources = list(container.root.rglob("*.py"))
    assert sources
    compiled = {path.name.split(".")[0] for path in container.root.rglob("__pycache__/*.pyc")}
    assert {path.stem for path in sources} <= compiled
    assert (container.root / "opt/vanadium/lib/python3.11/site-packages/cryptography/fernet.pyc").exists()


def test_the_image_says_which_debian_packages_are_in_it(container: Container) -> None:
    records = {path.name: path.read_text() for path in (container.root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "libssl3"} <= set(records)
    assert all(f"Package: {name}\n" in record and "\nVersion: " in record for name, record in records.items())
    assert "ID=debian" in (container.root / "etc/os-release").read_text()


def test_how_this_machine_reaches_its_registries_is_not_in_the_image(
    container: Container, built_images: dict[str, Path]
) -> None:
    for left in ("etc/pip.conf", "etc/uv", "etc/apt", "root", "etc/ssl"):
        assert not (container.root / left).exists()
    for archive in built_images.values():
        environment = configuration(archive)["Env"]
        assert isinstance(environment, list)
        assert [variable.split("=")[0] for variable in environment] == ["PATH"]


def test_the_images_have_the_documented_sizes_and_the_pod_agents_is_the_smallest(
    built_images: dict[str, Path],
) -> None:
    row = r"^\| ([a-z ]+?)(?:,[^|]*| \([^|]*)? \| (\d+) MB \| (\d+) MB \|$"
    table = re.findall(row, REFERENCE, re.MULTILINE)
    documented = {name.replace(" ", "-"): (int(pulled), int(unpacked)) for name, pulled, unpacked in table}
    assert set(documented) == set(PROGRAMS)
    for name, expected in documented.items():
        measured = sizes(built_images[name])
        assert (measured.compressed / 1e6, measured.unpacked / 1e6) == pytest.approx(expected, rel=0.1), name
    assert min(documented, key=lambda name: documented[name]) == "pod-agent"
    assert sizes(built_images["pod-agent"]).compressed < 20_000_000


def test_a_change_of_our_sources_leaves_the_layer_of_libraries_as_it_was(
    built_images: dict[str, Path], tmp_path: Path
) -> None:
    image = BY_NAME["pod-agent"]
    checkout = copied(tmp_path / "checkout", image)
    changed = checkout / "pod_agent/settings.py"
    changed.write_text(changed.read_text() + f"\nCHANGED = '{uuid.uuid4()}'\n")
    cache = cache_directory() / "images"
    with locked(cache / "lock", print), buildah.Store(cache / "store", tmp_path / "log", os.environ) as store:
        base_image.ensure(store, cache, print, os.environ)
        store.build("localhost/changed:1", checkout / image.container_file, checkout)
        store.save("localhost/changed:1", tmp_path / "changed.tar")
    libraries, *program = layers(built_images["pod-agent"])
    libraries_after, *program_after = layers(tmp_path / "changed.tar")
    assert libraries_after == libraries
    assert program_after != program


def test_a_build_leaves_no_mount_and_none_of_its_configuration(built_images: dict[str, Path]) -> None:
    del built_images
    cache = cache_directory() / "images"
    with locked(cache / "lock", print):  # another process may be building
        assert not (cache / "scratch").exists()
        assert str(cache) not in Path("/proc/self/mountinfo").read_text()
