# What there is to do with this repository. `make` alone builds what COMMAND names.

CARGO ?= cargo
DIR ?= tests/cases

# Where cargo builds; COMMAND says target/release, wherever that is.
BUILT := $(or $(CARGO_TARGET_DIR),$(CARGO_BUILD_TARGET_DIR),target)/release/indelible
BINARY := target/release/indelible
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
DIST := indelible-$(VERSION)

.PHONY: build demo test cases quick check soak sim sabotage bench bench-growth bench-transfer \
	rivals dist clean

build:
	$(CARGO) build --release --locked
	@if ! [ $(BUILT) -ef $(BINARY) ]; then \
		mkdir -p $(dir $(BINARY)) && cp $(BUILT) $(BINARY).new && mv $(BINARY).new $(BINARY); \
	fi

# Servers are killed while messages flow, and the proof is read from the disks.
demo:
	@echo "Building first: two minutes or so when nothing is built yet, seconds after that."
	@$(MAKE) --no-print-directory build
	@$(BINARY) demo kill

# Everything that should pass before a change goes in.
test: build
	$(CARGO) test --locked --no-fail-fast
	$(BINARY) sim --count 20000

# Runs every scenario in DIR like the grader.
cases: build
	$(BINARY) grade $(DIR)

# In two minutes, when most is built already.
quick:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --lib --test tidy --test golden

check: quick test cases
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) bench --locked --no-run

# The same tests with their full counts; INDELIBLE_SEED=n repeats one.
soak: build
	INDELIBLE_SOAK=1 $(CARGO) test --locked --no-fail-fast
	$(BINARY) sim --count 1000000
	$(BINARY) sim --explore full
	$(BINARY) sim --explore duel

# One run of the simulator, an event a line: make sim SEED=7. Many: make sim COUNT=10000 [SEED=..].
sim: build
	$(BINARY) sim $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) \
		$(if $(NODES),--nodes $(NODES))

# Plants the bugs of tests/sabotage one at a time, in a copy: the simulator must find each. All take
# half an hour on two cores; some, by how their names begin: make sabotage PATCHES="007 012".
sabotage:
	@CARGO="$(CARGO)" tests/sabotage/run $(PATCHES)

bench:
	$(CARGO) bench --locked

# What a long history costs, a line for each number of messages: make bench-growth SIZES="10000".
bench-growth:
	@$(CARGO) bench --locked --bench growth -- $(SIZES)

# What a transfer costs the others, in so many rounds: make bench-transfer MISSED=300000 ROUNDS=8.
MISSED ?= 1000000
ROUNDS ?= 4
bench-transfer:
	@$(CARGO) bench --locked --bench transfer -- $(MISSED) $(ROUNDS)

# The lock service beside etcd (Debian: etcd-server, etcd-client): make rivals [PART=bench|all].
rivals: build
	@tests/rivals/etcd $(PART)

# The committed sources with all crates they need, to build where there is no network. (With
# --quiet, cargo does not say the configuration that makes it use them.)
dist:
	@mkdir -p target/dist
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	mkdir -p $$work/$(DIST)/.cargo && \
	git archive HEAD | tar -x -C $$work/$(DIST) && \
	(cd $$work/$(DIST) && $(CARGO) vendor --locked vendor > .cargo/config.toml 2> ../log || \
		{ cat ../log; exit 1; }) && \
	test -s $$work/$(DIST)/.cargo/config.toml && \
	tar -czf target/dist/$(DIST).tar.gz -C $$work $(DIST) && \
	ls -lh target/dist/$(DIST).tar.gz

clean:
	$(CARGO) clean
	find data -mindepth 1 ! -name README.md -delete
