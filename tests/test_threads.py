"""Is the answer the same on any number of threads, and does nothing crash or hang where threads and forks meet?

Each case runs in a process of its own: what goes wrong there ends the process.
"""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from eplb_numba import POLICIES, Planner, plan_experts
from eplb_numba.threads import threads_at_hand

LARGE = "np.random.default_rng(0).lognormal(0, 1, (58, 256)).astype(np.float32)"
PRELUDE = f"""
import hashlib, os, threading
import numpy as np
import eplb_numba
weight = {LARGE}
def answer():
    return eplb_numba.plan_experts(weight, 288, 8, 4, 32).phy2log.tobytes()
def digest():
    return hashlib.sha256(answer()).hexdigest() + "\\n"
"""


def run(program, **environment):
    """Run a program in a process of its own and give what it printed."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(name, dtype, monkeypatch):
    """One, two, three and more workers than threads plan the same bits as one."""
    from eplb_numba import cpu

    weight = np.random.default_rng(1).lognormal(0, 1, (7, 64)).astype(dtype)
    monkeypatch.setattr(cpu, "WORTH_SHARING", 0)
    plans = []
    for workers in (1, 2, 3, 7):
        monkeypatch.setattr(cpu, "threads_at_hand", lambda workers=workers: workers)
        plans.append(plan_experts(weight, 72, 1, 1, 8, policy=name))
    for plan in plans[1:]:
        for field in ("phy2log", "log2phy", "logcnt", "gpu_loads", "bound", "balancedness"):
            np.testing.assert_array_equal(getattr(plans[0], field), getattr(plan, field))


def test_small_problems_start_no_threads():
    """A small problem is planned serially, on the calling thread."""
    program = """
    import numba
    eplb_numba.plan_experts(weight[:2, :16], 24, 1, 1, 4)
    try:
        numba.threading_layer()
    except ValueError:
        print("none")
    """
    assert run(program) == "none\n"


NUMBA_ALONE = """
import numba
@numba.njit(parallel=True)
def total():
    result = 0
    for index in numba.prange(100):
        result += index
    return result
total()
"""
FORK = """
child = os.fork()
if child == 0:
    {in_child}
    os._exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
@pytest.mark.parametrize("before", ["answer()", NUMBA_ALONE], ids=["our threads", "threads of others"])
def test_a_forked_child_plans_serially(before):
    """A child of a process whose threads have run plans the same answer, and does not die."""
    child, parent = run(before + FORK.format(in_child="os.write(1, digest().encode())") + "print(digest())").split()
    assert child == parent


@needs_fork
def test_any_forked_child_plans_serially():
    """A child plans serially even where Numba had no threads: another library may have used its OpenMP."""
    assert run(FORK.format(in_child="assert eplb_numba.threads.threads_at_hand() == 1; digest()")) == ""


@needs_fork
@pytest.mark.parametrize("before", ["", NUMBA_ALONE], ids=["nobody's threads", "threads of others"])
def test_a_child_that_imports_after_the_fork_plans_serially(before):
    """Where this package comes only after the fork nobody dies either, though the child has started a thread of its own."""
    in_child = f"threading.Thread(target=threading.Event().wait, daemon=True).start(); exec({PRELUDE!r}); digest()"
    program = "import os, threading\n" + before + FORK.format(in_child=in_child)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240)


@needs_fork
def test_a_planner_survives_the_fork():
    """A planner that was built before a fork plans in the child, serially."""
    program = """
planner = eplb_numba.Planner(58, 256, 288, 8, 4, 32)
before = planner.plan(weight).phy2log.tobytes()
"""
    run(program + FORK.format(in_child="assert planner.plan(weight).phy2log.tobytes() == before"))


@needs_fork
def test_a_planner_forgets_a_thread_that_the_fork_left_behind():
    """A planner that another thread was using when the process forked plans in the child."""
    program = """
planner = eplb_numba.Planner(2, 16, 24, 1, 1, 4)
planner._in_use.acquire()
"""
    run(program + FORK.format(in_child="planner.plan(weight[:2, :16])"))


HOLD = """
import threading
holding = threading.Event()
def hold():
    {held}
threading.Thread(target=hold, daemon=True).start()
holding.wait()
"""
SMALL = "eplb_numba.plan_experts(weight[:2, :16]{more}, 24, 1, 1, 4)"
REFUSED = """
    try:
        {plan}
    except RuntimeError as error:
        os.write(1, str(error).encode())
"""


@needs_fork
def test_a_child_does_not_wait_for_a_thread_that_was_compiling():
    """What is compiled already is planned; what has to be compiled first would wait for ever, and says so."""
    held = """
    from numba.core.compiler_lock import global_compiler_lock
    with global_compiler_lock:
        holding.set()
        threading.Event().wait()
    """
    small, other = SMALL.format(more=""), SMALL.format(more=".astype('float64')")
    in_child = f"assert ({small}.phy2log == before).all()" + REFUSED.format(plan=other)
    said = run(f"before = {small}.phy2log" + HOLD.format(held=held) + FORK.format(in_child=in_child))
    assert said.startswith("this process was forked while another thread was compiling, and would wait for that thread")


@needs_fork
def test_a_child_does_not_wait_for_a_thread_that_was_importing():
    """A first plan imports what another thread of the parent was importing when it forked: it says so."""
    held = """
    import sys
    from importlib.machinery import ModuleSpec
    class Slow:
        def find_spec(name, path=None, target=None):
            return ModuleSpec(name, Slow) if name == "numba" else None
        def create_module(spec):
            return None
        def exec_module(module):
            holding.set()
            threading.Event().wait()
    sys.meta_path.insert(0, Slow)
    import numba
    """
    for plan in (SMALL.format(more=""), "eplb_numba.Planner(2, 16, 24, 1, 1, 4)", "eplb_numba.balanced_packing(weight, 8)"):
        said = run(HOLD.format(held=held) + FORK.format(in_child=REFUSED.format(plan=plan)))
        assert said.startswith("this process was forked while another thread was importing numba, and would wait for that")


def test_multiprocessing_by_fork():
    """Workers of a pool that was forked after a plan give the parent's answer."""
    program = """
    import multiprocessing, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about forking with threads
    expected = answer()
    def work(index):
        return answer() == expected
    if "fork" in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert all(pool.map(work, range(4)))
    """
    run(program)


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_many_threads_at_once(layer):
    """Eight Python threads that plan at the same time all get the same answer, on a layer that could not bear it, too."""
    program = """
    expected = answer()
    wrong = []
    def work():
        for _ in range(5):
            if answer() != expected:
                wrong.append(1)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    import numba
    print(numba.threading_layer())
    """
    try:
        assert run(program, NUMBA_THREADING_LAYER=layer) == f"{layer}\n"
    except AssertionError as error:
        if "No threading layer could be loaded" in str(error):
            pytest.skip(f"Numba has no threading layer {layer} here")
        raise


def test_without_a_threading_layer():
    """Where the layer that Numba was told to use does not exist, plans are made serially."""
    assert run("print(digest())", NUMBA_THREADING_LAYER="tbb") == run("print(digest())")


def test_without_compilation():
    """With Numba switched off everything is planned serially, large problems included, with the same answer."""
    program = "print(hashlib.sha256(eplb_numba.plan_experts(weight[:, :32], 36, 1, 1, 4).phy2log.tobytes()).hexdigest())"
    assert run(program, NUMBA_DISABLE_JIT="1") == run(program)


def test_a_planner_serves_one_thread_at_a_time():
    """A planner that is in use refuses a second caller instead of mixing two plans."""
    planner = Planner(2, 8, 12, 1, 1, 4)
    with planner._in_use, pytest.raises(RuntimeError, match="a planner serves one thread at a time"):
        planner.plan(np.ones((2, 8), np.float32))
    planner.plan(np.ones((2, 8), np.float32))


def test_there_is_at_least_one_thread():
    """Here the number of threads is that of Numba, or one."""
    assert threads_at_hand() >= 1
