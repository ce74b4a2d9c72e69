"""svd in containers as an engine runs them, with the image of packaging/Dockerfile and a static busybox as the app's programs.

Run by .ci/containers inside `ctr-run --script`, which sets ENGINE and RUNFLAGS. Each check is a function whose docstring is the
sentence that holds; each waits for conditions with a deadline, and leaves no container behind.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time

ENGINE = os.environ["ENGINE"]
FLAGS = shlex.split(os.environ["RUNFLAGS"])
BINARIES, BUSYBOX = os.environ["STATIC"], os.environ["BUSYBOX"]
DEADLINE = 60
IMAGE = "localhost/svd-app"

# Two programs that stay, one that makes orphans for as long as it lives, one that does not hear TERM.
CONFIG = """app = "shop"
[process.web]
run = ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; echo serving; while :; do /bin/busybox sleep 1000 & wait; done"]
stop = ["TERM", "5s", "KILL"]
[process.orphans]
run = ["/bin/busybox", "sh", "-c", "while :; do (/bin/busybox sleep 0.01 &); /bin/busybox sleep 0.05; done"]
stop = ["TERM", "1s", "KILL"]
[process.deaf]
run = ["/bin/busybox", "sh", "-c", "trap '' TERM; while :; do /bin/busybox sleep 1000; done"]
stop = ["TERM", "1s", "KILL"]
"""


def call(*args, check=True, **more):
    done = subprocess.run([ENGINE, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, **more)
    if check and done.returncode:
        raise AssertionError(f"{ENGINE} {shlex.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def eventually(what, condition):
    end = time.monotonic() + DEADLINE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {DEADLINE} s: {what}")
        time.sleep(0.02)  # Between two looks: an engine tells of no change inside a container.


class Container:
    """One container; gone when the check ends."""

    def __init__(self, *flags, args=(), config=CONFIG):
        self.name = f"check-{os.getpid()}-{time.monotonic_ns()}"
        self.dir = os.path.join(os.getcwd(), self.name)
        os.mkdir(self.dir, 0o755)
        with open(self.dir + "/Procfile.toml", "w") as file:
            file.write(config)
        volume = ["--volume", self.dir + ":/app:ro"]
        call("run", "--detach", "--name", self.name, *FLAGS, *volume, *flags, IMAGE, *args)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind:
            print(self.output(), file=sys.stderr)
        call("rm", "--force", self.name, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def exec(self, *args, check=True):
        return call("exec", self.name, *args, check=check)

    def status(self):
        done = self.exec("/usr/bin/svctl", "status", "--json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def healthy(self):
        # The image's own HEALTHCHECK, word for word.
        return self.exec("/usr/bin/svctl", "health", check=False).returncode == 0

    def up(self):
        eventually("all are ready", self.healthy)
        return self

    def pid(self, instance):
        return next(i["pid"] for p in self.status()["processes"] for i in p["instances"] if i["id"] == instance)

    def running(self):
        return call("inspect", "--format", "{{.State.Running}}", self.name).stdout.strip() == "true"

    def signal(self, number):
        call("kill", "--signal", str(number), self.name)

    def code(self):
        """Its exit code, once it has ended."""
        eventually("the container has ended", lambda: not self.running())
        return int(call("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout)

    def output(self):
        done = call("logs", self.name, check=False)
        return done.stdout + done.stderr


def pid_1_lives_through_every_signal_but_those_that_ask_for_a_stop():
    with Container().up() as c:
        web = c.pid("web.1")
        for number in range(1, 65):
            if number in (2, 3, 9, 15, 19, 30, 32, 33, 37):
                continue
            c.signal(number)
        assert c.healthy() and c.pid("web.1") == web
        assert c.status()["svd"]["keeper_pid"] == 1
        c.signal(37)
        assert c.code() == 0


def nothing_inside_the_container_can_kill_pid_1_and_a_killed_manager_costs_nothing():
    with Container().up() as c:
        before = c.status()
        c.exec("/bin/busybox", "kill", "-KILL", "1")
        c.exec("/bin/busybox", "kill", "-SEGV", "1")
        c.exec("/bin/busybox", "kill", "-KILL", str(before["svd"]["manager_pid"]))
        after = eventually("the next manager answers", lambda: (s := c.status()) and s["svd"]["manager_starts"] == 2 and s)
        pids = [[i["pid"] for p in s["processes"] for i in p["instances"]] for s in (before, after)]
        assert pids[0] == pids[1], pids


def orphans_are_reaped():
    with Container().up() as c:
        # A pid that was an orphan's: the program has made more than these by then.
        def highest():
            return int(c.exec("/bin/busybox", "sh", "-c", "echo $$").stdout)

        first = highest()
        eventually("orphans were made", lambda: highest() > first + 50)

        def zombies():
            script = "for f in /proc/[0-9]*/stat; do read -r a b s r < $f; [ $s = Z ] && echo $a; done 2>/dev/null; true"
            return set(c.exec("/bin/busybox", "sh", "-c", script).stdout.split())

        # One that is there at one look is reaped by the next.
        eventually("what was a zombie has gone", lambda: not (zombies() & zombies()))


def stop_ends_everything_in_order_within_the_grace_and_exits_0():
    with Container().up() as c:
        call("stop", "--time", "10", c.name)
        assert c.code() == 0, c.code()
        assert "deaf" in c.output()


def a_stop_before_all_has_started_stops_all_and_exits_0():
    config = CONFIG + '[process.late]\nrun = ["/bin/busybox", "sleep", "1000"]\nready = { log = "never", timeout = "10m" }\n'
    with Container(config=config) as c:
        eventually("svd answers", c.status)
        c.signal("TERM")
        assert c.code() == 0


def exit_codes_are_those_of_the_essential_process_of_the_command_and_of_errors():
    essential = '[process.web]\nrun = ["/bin/busybox", "sh", "-c", "exit {}"]\nessential = true\nrestart = "never"\n'
    with Container(config=essential.format(7)) as c:
        assert c.code() == 7
    with Container(config=essential.replace("exit {}", "kill -KILL $$").format()) as c:
        assert c.code() == 137
    with Container(config="[process.web]\nrum = 1\n") as c:
        assert c.code() == 2 and "Procfile.toml:2:1" in c.output(), c.output()
    with Container(args=["--", "/bin/busybox", "sh", "-c", "exit 9"]) as c:
        assert c.code() == 9
    with Container(args=["--", "/bin/busybox", "sh", "-c", "kill -TERM $$"]) as c:
        assert c.code() == 143
    with Container(args=["--", "/no/such"]) as c:
        assert c.code() == 127


def a_command_alone_gets_the_signals_and_its_orphans_are_reaped():
    script = "trap 'exit 5' TERM; (/bin/busybox sleep 0.1 &); echo up; while :; do /bin/busybox sleep 1000 & wait; done"
    with Container(args=["--", "/bin/busybox", "sh", "-c", script]) as c:
        eventually("it is up", lambda: "up" in c.output())
        c.signal("TERM")
        assert c.code() == 5


def a_read_only_root_keeps_state_in_memory_and_says_so_once():
    engine = ["--read-only"] + (["--read-only-tmpfs=false"] if ENGINE == "podman" else [])
    for place in ("/run", "/tmp"):
        with Container(*engine, "--tmpfs", place).up() as c:
            told = [line for line in c.output().splitlines() if "do not survive" in line]
            assert len(told) == 1 and f"are kept in {place}" in told[0], c.output()
            assert any("do not survive" in warning for warning in c.status()["warnings"])
            web = c.pid("web.1")
            c.exec("/usr/bin/svctl", "restart", "web")
            assert c.pid("web.1") != web
            assert "serving" in c.exec("/usr/bin/svctl", "logs", "web").stdout
            call("stop", c.name)
            assert c.code() == 0
    with Container(*engine) as c:
        assert c.code() == 1 and "give one with --root" in c.output(), c.output()


def any_user_will_do_also_one_that_nobody_knows():
    with Container("--user", "12345").up() as c:
        assert c.status()["svd"]["root"] == "/tmp/svd-12345/shop", c.status()
        assert c.exec("/bin/busybox", "id", "-u").stdout.strip() == "12345"
        c.signal("TERM")
        assert c.code() == 0
    with Container("--user", "12345", "--read-only", "--tmpfs", "/tmp:mode=1777").up() as c:
        call("stop", c.name)
        assert c.code() == 0


def below_the_engines_init_svd_is_a_subreaper_and_stops_as_well():
    with Container("--init").up() as c:
        assert c.status()["svd"]["keeper_pid"] != 1
        call("stop", c.name)
        assert c.code() == 0


def ladders_that_do_not_fit_into_the_grace_are_told_at_the_start_and_by_check():
    slow = '[process.web]\nrun = ["/bin/busybox", "sleep", "1000"]\nstop = ["TERM", "30s", "KILL"]\n'
    words = "kills everything after 10s"
    with Container(config=slow).up() as c:
        assert words in c.output(), c.output()
        assert words in c.exec("/usr/bin/svd", "check").stderr
    with Container("--env", "SVD_STOP_GRACE=40s", config=slow).up() as c:
        assert "kills everything" not in c.output(), c.output()
    with Container().up() as c:
        assert "kills everything" not in c.output(), c.output()


def the_image_tells_the_engine_how_to_stop_it_and_whether_it_is_well():
    image = json.loads(call("image", "inspect", IMAGE).stdout)[0]
    config = image["Config"]
    # Podman leaves out what is the default.
    assert config.get("StopSignal", "SIGTERM") in ("SIGTERM", "15"), config
    health = config.get("Healthcheck") or image["Healthcheck"]
    assert health["Test"] == ["CMD", "/usr/bin/svctl", "health"], image
    broken = '[process.web]\nrun = ["/bin/busybox", "false"]\nrestart = { backoff = "10m" }\n'
    with Container(config=broken) as c:
        done = eventually("it is told", lambda: "backoff" in (d := c.exec("/usr/bin/svctl", "health", check=False)).stdout and d)
        assert done.returncode == 1 and done.stdout.startswith("0 of 1 ready: web.1 is backoff"), done


CHECKS = [
    pid_1_lives_through_every_signal_but_those_that_ask_for_a_stop,
    nothing_inside_the_container_can_kill_pid_1_and_a_killed_manager_costs_nothing,
    orphans_are_reaped,
    stop_ends_everything_in_order_within_the_grace_and_exits_0,
    a_stop_before_all_has_started_stops_all_and_exits_0,
    exit_codes_are_those_of_the_essential_process_of_the_command_and_of_errors,
    a_command_alone_gets_the_signals_and_its_orphans_are_reaped,
    a_read_only_root_keeps_state_in_memory_and_says_so_once,
    any_user_will_do_also_one_that_nobody_knows,
    below_the_engines_init_svd_is_a_subreaper_and_stops_as_well,
    ladders_that_do_not_fit_into_the_grace_are_told_at_the_start_and_by_check,
    the_image_tells_the_engine_how_to_stop_it_and_whether_it_is_well,
]


def build():
    context = os.path.join(os.getcwd(), "svd-context")
    shutil.copytree(BINARIES, context)
    call("build", "--quiet", *(["--format", "docker"] if ENGINE == "podman" else []), "--tag", "localhost/svd",
         "--file", os.environ["HERE"] + "/packaging/Dockerfile", context)
    shutil.copy(BUSYBOX, context + "/busybox")
    with open(context + "/Dockerfile", "w") as file:
        file.write("FROM localhost/svd\nCOPY busybox /bin/busybox\n")
    call("build", "--quiet", *(["--format", "docker"] if ENGINE == "podman" else []), "--tag", IMAGE, context)


def main():
    build()
    failed = 0
    for check in CHECKS:
        if len(sys.argv) > 1 and sys.argv[1] not in check.__name__:
            continue
        began = time.monotonic()
        try:
            check()
            outcome = "ok"
        except Exception as error:  # every check is told, whatever became of those before
            failed += 1
            outcome = f"FAILED: {type(error).__name__}: {error}"
        print(f"{ENGINE}: {check.__name__} ... {outcome} ({time.monotonic() - began:.1f} s)", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
