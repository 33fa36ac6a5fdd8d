"""Each attack against each tier, and once without any: an attack that would never be noticed shows nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from astrid.adapters.egress.network import SystemNetwork
from astrid.adapters.egress.proxy import Proxy
from astrid.adapters.sandbox.launcher import open_launcher
from astrid.adapters.sandbox.profile import build_box
from astrid.box_ports import Serve, Tier
from astrid.core.egress import Reach
from tests.fakes.egress import Recorded
from tests.sandbox.scene import Attack, Scene, attacks

pytestmark = pytest.mark.e2e

SECONDS = 6.0
ATTACKS = attacks()
# Without mounts nothing in a workspace can be kept from its programs, and `stat` needs no right that Landlock knows.
# docs/sandbox.md says so to whoever runs it.
BEYOND_L0 = {"15_meta_oracle", "22_git_hook", "23_git_config", "24_agent_config"}
# The kernel holds no limit of processes against root.
NOT_AGAINST_ROOT = {"33_fork_bomb"}
# What shows itself only after long, fills a disk, or as root reaches the machine itself.
NOT_WITHOUT_A_BOX = {
    *("32_hold_pipe", "39_cpu_spin", "34_memory_bomb", "33_fork_bomb", "36_disk_one_file", "37_disk_many_files"),
    *("40_output_flood", "30_ptrace_parent", "57_exotic_sockets", "62_userns", "63_mount", "64_kernel_surface"),
    *("69_proc_sys", "71_mknod"),
}
OF_THE_NETWORK = {
    *("48_ws_loopback", "49_abstract_unix", "50_path_unix", "51_docker_sock", "52_dbus", "53_path_datagram"),
    *("54_dns_exfil", "57_exotic_sockets", "58_bind_public", "62_userns", "64_kernel_surface"),
}
# They find what a careless launcher hands on; without one there is nothing to find.
OF_A_LAUNCHER = {"07_inherited_fd", "44_env_exfil", "45_parent_environ", "47_preload_path"}


@pytest.mark.parametrize("name", ATTACKS)
async def test_no_attack_works(scene: Scene, tier: Tier, name: str, tmp_path: Path) -> None:
    if name in NOT_AGAINST_ROOT and os.geteuid() == 0:
        pytest.skip("the kernel holds no limit of processes against root")
    found = await attempt(scene, tier, ATTACKS[name], tmp_path)
    if tier == "l0" and name in BEYOND_L0:
        assert found, "this holds at l0 as well: take it out of BEYOND_L0 and of docs/sandbox.md"
    else:
        assert found == []


@pytest.mark.parametrize("name", sorted(name for name in ATTACKS if name in OF_THE_NETWORK))
async def test_no_attack_works_beside_a_way_out_that_is_open(
    scene: Scene, tier: Tier, name: str, tmp_path: Path
) -> None:
    if tier != "l1":
        pytest.skip("there is no way out at this tier")
    proxy = Proxy(Reach(("a.example",)), SystemNetwork(), Recorded())
    assert await attempt(scene, tier, ATTACKS[name], tmp_path, proxy.serve) == []


async def attempt(scene: Scene, tier: Tier, attack: Attack, temporary: Path, serve: Serve | None = None) -> list[str]:
    """What shows that ``attack`` worked in a box of ``tier``, whose way out, if it has one, ``serve`` has."""
    folder = os.open(scene.workspace, os.O_PATH | os.O_DIRECTORY)
    box = msgspec.structs.replace(
        build_box(tier, str(scene.workspace), folder),
        limits={"fsize": 100_000_000, "nofile": 512, "nproc": 64, "data": 1 << 30, "cpu": 60},
        growth_bytes=200 << 20,
    )
    never = [str(scene.home), str(scene.outside)]
    try:
        async with open_launcher(least="l0", never=never, temporary=temporary) as launcher:
            env = scene.environment()
            argv = attack.argv()
            done = await launcher.run(box, argv, cwd="", env=env, seconds=SECONDS, max_bytes=1 << 20, serve=serve)
    finally:
        os.close(folder)
    return scene.evidence(done.stdout + done.stderr)


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - NOT_WITHOUT_A_BOX - OF_A_LAUNCHER))
def test_without_a_box_the_attack_works_and_is_noticed(scene: Scene, name: str) -> None:
    env = {**scene.environment(), "HOME": str(scene.home)}
    done = subprocess.run(
        ATTACKS[name].argv(), cwd=scene.workspace, env=env, capture_output=True, timeout=30, check=False
    )
    assert scene.evidence(done.stdout + done.stderr)


@pytest.mark.parametrize("name", sorted(OF_A_LAUNCHER - {"07_inherited_fd", "45_parent_environ", "47_preload_path"}))
def test_a_careless_launcher_would_be_noticed(scene: Scene, name: str) -> None:
    env = {**scene.environment(), "API_KEY": scene.canary}
    done = subprocess.run(ATTACKS[name].argv(), cwd=scene.workspace, env=env, capture_output=True, check=False)
    assert scene.evidence(done.stdout)


def test_an_inherited_folder_would_be_noticed(scene: Scene) -> None:
    held = os.open("/", os.O_RDONLY)
    try:
        done = subprocess.run(
            ATTACKS["07_inherited_fd"].argv(),
            cwd=scene.workspace,
            env=scene.environment(),
            capture_output=True,
            check=False,
            pass_fds=[held],
        )
    finally:
        os.close(held)
    assert scene.evidence(done.stdout)
