# SPDX-License-Identifier: LGPL-2.1-or-later
# The ways to build and try failoverd. README.md says what each does; meson is behind all of them.
#
#   make         build
#   make demo    two real guests: an application failure, a kernel panic, and what they took
#   make check   every test; the last line is "N passed, N failed"
#   make bench   figures against their targets
#   make soak MINUTES=10  guests beside a busy host, and worlds of the simulator that nobody has seen, as long as asked
#   make mutants plants bugs, one at a time, and expects each to be found
#   make fuzz MINUTES=10  each fuzzer in turn, together as long as asked (clang)
#   make coverage of the core by its tests, and why the rest is not reached

BUILD := build
BUILD_SANITIZED := build-sanitized
BUILD_COVERAGE := build-coverage
BUILD_FUZZ := build-fuzz
PYTHON := /usr/bin/python3
# systemd, D-Bus and polkit find their files of another prefix only in part: README.md.
MESON_FLAGS := --prefix=/usr
MINUTES := 10

.PHONY: all setup guest guest-debian demo check bench soak mutants fuzz coverage install clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

# Packages, where they are not there yet.
setup:
	tests/setup

$(BUILD)/build.ninja:
	meson setup $(MESON_FLAGS) $(BUILD)

$(BUILD_SANITIZED)/build.ninja:
	meson setup -Db_sanitize=address,undefined -Db_lundef=false $(BUILD_SANITIZED)

# The small guest that the demo and the tests boot.
guest: all
	tests/guest/build-image $(BUILD)/guest $(BUILD)/agents/guest/failover-agent \
		$(BUILD)/tests/guest/fill:/usr/bin/fill \
		$(BUILD)/tests/guest/count-in-region:/usr/bin/count-in-region tests/guest/count-on-disk:/usr/bin/count-on-disk \
		tests/guest/hostile-agent:/usr/bin/hostile-agent
	tests/guest/build-image --more $(BUILD)/guest with-region-library \
		$(BUILD)/tests/guest/count-by-library:/usr/bin/count-by-library \
		$(BUILD)/agents/region/libfailover-region.so.0:/usr/lib/libfailover-region.so.0

# The full Debian guest of the tests.
guest-debian: all
	tests/guest/build-debian $(BUILD)/guest $(BUILD)/agents/guest/failover-agent etc \
		$(BUILD)/tests/guest/fill:/usr/bin/fill tests/guest/db.service:/etc/systemd/system/db.service \
		tests/guest/auto.service:/etc/systemd/system/auto.service

demo: setup
	$(MAKE) --no-print-directory guest
	FAILOVER_BUILD=$(abspath $(BUILD)) $(BUILD)/tests/e2e/reaper $(PYTHON) tests/e2e/demo.py

check:
	tests/setup check
	tests/check $(BUILD) $(BUILD_SANITIZED)

# Figures against their targets, one a line; build/bench.json has them too.
bench:
	tests/setup bench
	$(MAKE) --no-print-directory guest
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/engine.py
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/rights.py
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/memserver.py
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/region.py
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/pager.py
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/pairs.py
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/recovery.py
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/handover.py

# For MINUTES, busy guests beside a busy host: every failover is a false one. What keeps the host busy too is the
# exploration of the simulator, with new seeds each time: it prints the first, and how to run one that fails again.
soak: setup
	$(MAKE) --no-print-directory guest
	nice -n 5 $(BUILD)/tests/sim/explore for $(MINUTES) & explore=$$!; \
	FAILOVER_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/soak.py $(MINUTES); guests=$$?; \
	wait $$explore && exit $$guests

# Bugs planted one at a time: each has to be found.
mutants: setup
	mkdir -p $(BUILD)
	tests/mutants/run $(BUILD)

$(BUILD_FUZZ)/build.ninja:
	CC=clang meson setup -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false $(BUILD_FUZZ)

# What the fuzzers find is kept in build-fuzz/found, and taken up again the next time.
fuzz:
	tests/setup fuzz
	$(MAKE) --no-print-directory $(BUILD_FUZZ)/build.ninja
	tests/fuzz/run $(BUILD_FUZZ) $(MINUTES)

$(BUILD_COVERAGE)/build.ninja:
	meson setup -Db_coverage=true -Doptimization=0 $(BUILD_COVERAGE)

# How much of the core its tests reach, and why not the rest.
coverage: setup $(BUILD_COVERAGE)/build.ninja
	tests/coverage $(BUILD_COVERAGE)

install: all
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD_SANITIZED) $(BUILD_COVERAGE) $(BUILD_FUZZ)
