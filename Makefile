# SPDX-License-Identifier: Apache-2.0
#
# memd: vmm, memd, policy and memctl. One file for all of it; objects go to $(O).
#
#   make            build the programs
#   make setup      install what it takes to build
#   make demo       a dense host with real guests, start to end (installs what is missing)
#   make check      every test (installs what is missing); SAN=address,undefined for sanitizers
#   make bench      measure against peers, PART=vmm|ksm|inflate|density|density-lab|numa
#   make mutation   switch each rule of the policy off: does a test notice?
#   make lint fuzz install uninstall clean
#
# O= build directory, V=1 shows commands, SAN= sanitizers, CC=clang, DESTDIR= prefix=.

O       ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
VERSION := $(shell cat VERSION)
prefix  ?= /usr/local
sbindir ?= $(prefix)/sbin
bindir  ?= $(prefix)/bin
mandir  ?= $(prefix)/share/man
sysconfdir ?= /etc
unitdir ?= $(prefix)/lib/systemd/system
completiondir ?= $(prefix)/share/bash-completion/completions

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

# Sanitized objects never mix with others.
ifneq ($(SAN),)
override O := $(O)/san
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
endif

# A build whose rules of the policy can be switched off one by one (policy/fault.h).
ifneq ($(MUTANTS),)
override O := $(O)/mutants
endif

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla \
	-Wimplicit-fallthrough -Wformat=2 -Wcast-qual -Wwrite-strings -Wpointer-arith \
	-Wno-unused-parameter -Werror=implicit-function-declaration $(if $(WERROR),-Werror)
HARDEN := $(if $(SAN),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -DMEMD_VERSION='"$(VERSION)"' -I. $(WARN) $(HARDEN) \
	$(SANFLAGS) $(if $(MUTANTS),-DPOL_FAULTS) $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now $(SANFLAGS) $(LDFLAGS)

PKGS := json-c libsystemd libeconf smartcols libxxhash libseccomp libcgroup
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
JSON_LIBS   = $(shell pkg-config --libs json-c)
# libhugetlbfs as an archive: its shared object takes shmget() over in the whole process.
HUGE_LIBS   = -l:libhugetlbfs.a
VMM_LIBS    = $(JSON_LIBS) $(shell pkg-config --libs libseccomp) -lnuma $(HUGE_LIBS) -lpthread
MEMD_LIBS   = $(JSON_LIBS) $(shell pkg-config --libs libsystemd libeconf libxxhash libcgroup) -lnuma -lm
MEMCTL_LIBS = $(MEMD_LIBS) $(shell pkg-config --libs smartcols ncursesw)

COMMON := $(sort $(wildcard common/*.c))
POLICY := $(sort $(wildcard policy/*.c))
VMM    := $(sort $(wildcard vmm/*.c))
MEMD   := $(sort $(wildcard memd/*.c))
MEMCTL := $(sort $(wildcard tools/*.c))
UNIT   := $(sort $(wildcard tests/unit/*.c))

obj = $(patsubst %.c,$(O)/obj/%.o,$(1))

.PHONY: all programs demo check bench mutation mutants lint fuzz format install uninstall clean setup tests guests lab-image
all: programs
programs: $(O)/vmm $(O)/memd $(O)/memctl

$(O)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Everything but main(), as archives, so that tests link just what they use.
define archive
$(O)/lib$(1).a: $(call obj,$(filter-out %/main.c,$(2)))
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(eval $(call archive,common,$(COMMON)))
$(eval $(call archive,policy,$(POLICY)))
$(eval $(call archive,vmm,$(VMM)))
$(eval $(call archive,memd,$(MEMD)))
$(eval $(call archive,memctl,$(MEMCTL)))

define program
$(O)/$(1): $(call obj,$(2)) $(addprefix $(O)/lib,$(addsuffix .a,$(3)))
	$$(call say,LD,$$@)
	$$(Q)$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $(4)
endef
$(eval $(call program,vmm,vmm/main.c,vmm common,$$(VMM_LIBS)))
$(eval $(call program,memd,memd/main.c,memd policy common,$$(MEMD_LIBS)))
$(eval $(call program,memctl,tools/main.c,memctl memd policy common,$$(MEMCTL_LIBS)))

# Unit tests: tests/unit/ROOM_NOUN.c links the room it is named after.
$(O)/tests/unit/common_%: $(O)/obj/tests/unit/common_%.o $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(JSON_LIBS)
$(O)/tests/unit/policy_%: $(O)/obj/tests/unit/policy_%.o $(O)/libpolicy.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka
$(O)/tests/unit/vmm_%: $(O)/obj/tests/unit/vmm_%.o $(O)/libvmm.a $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(VMM_LIBS)
$(O)/tests/unit/memd_%: $(O)/obj/tests/unit/memd_%.o $(O)/libmemd.a $(O)/libpolicy.a $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(MEMD_LIBS)
$(O)/tests/unit/memctl_%: $(O)/obj/tests/unit/memctl_%.o $(O)/libmemctl.a $(O)/libmemd.a $(O)/libpolicy.a $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(MEMCTL_LIBS)
UNIT_BIN := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(UNIT))

# Fuzz targets with the plain compiler and a main() that replays files: $(O)/fuzz-replay/ROOM_NOUN.
define replay
$(O)/fuzz-replay/$(1)_%: $(O)/obj/tests/fuzz/$(1)_%.o $(O)/obj/tests/fuzz/replay.o $(addprefix $(O)/lib,$(addsuffix .a,$(2)))
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $(3)
endef
$(eval $(call replay,common,common,$$(JSON_LIBS)))
$(eval $(call replay,policy,policy common,))
$(eval $(call replay,vmm,vmm common,$$(VMM_LIBS)))
$(eval $(call replay,memd,memd policy common,$$(MEMD_LIBS)))
REPLAY_BIN := $(patsubst tests/fuzz/%.c,$(O)/fuzz-replay/%,$(sort $(filter-out %/replay.c,$(wildcard tests/fuzz/*.c))))

# vmm with a device that makes its threads break the rules; see the file.
$(O)/tests/vmm-forbidden: $(O)/obj/vmm/main.o $(O)/obj/tests/it/vmm_forbidden.o $(O)/libvmm.a $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--wrap=vm_start -o $@ $^ $(VMM_LIBS)

# memd that counts what it allocates in a tick, and a thousand guests for it; see the files.
$(O)/tests/memd-allocations: $(O)/obj/memd/main.o $(O)/obj/tests/it/memd_allocations.o $(O)/libmemd.a $(O)/libpolicy.a $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--wrap=host_sense,--wrap=record_tick -o $@ $^ $(MEMD_LIBS)
$(O)/tests/crowd: $(O)/obj/tests/it/crowd.o
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

tests: $(UNIT_BIN) $(REPLAY_BIN) $(addprefix $(O)/tests/,vmm-forbidden memd-allocations crowd) $(O)/tests/bench/ksm-load
.SECONDARY:

# What runs inside guests: freestanding (tiny) or static (the rest), never sanitized.
TINY := $(sort $(wildcard tests/guest/tiny*.c tests/guest/tiny*.S))
$(O)/tests/tiny.elf: $(TINY) tests/guest/tiny.ld $(wildcard tests/guest/*.h)
	@mkdir -p $(@D)
	$(call say,GUEST,$@)
	$(Q)gcc -std=gnu17 -I. -O2 -g0 -m64 -mno-red-zone -mno-sse -mno-mmx -mgeneral-regs-only -ffreestanding \
		-fno-stack-protector -fno-pie -no-pie -fno-asynchronous-unwind-tables -fcf-protection=none \
		-nostdlib -static -Wall -Wextra -Wno-unused-parameter -Wl,--build-id=none -Wl,-T,tests/guest/tiny.ld -o $@ $(TINY)
$(O)/tests/memhog $(O)/tests/work: $(O)/tests/%: tests/guest/%.c
	@mkdir -p $(@D)
	$(call say,GUEST,$@)
	$(Q)gcc -std=gnu17 -D_GNU_SOURCE -O2 -static -Wall -Wextra -o $@ $<
# vmm whose balloon gives nothing back: what the guest's driver alone costs.
$(O)/tests/bench/vmm-idle: $(call obj,vmm/main.c tests/bench/vmm_idle.c) $(O)/libvmm.a $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--wrap=pfn_order -o $@ $^ $(VMM_LIBS)
$(O)/tests/bench/inflate: $(call obj,tests/bench/inflate.c) $(O)/libvmm.a $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(VMM_LIBS)
$(O)/tests/bench/ksm-load: $(call obj,tests/bench/ksm_load.c) $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^
$(O)/tests/bench/law: $(call obj,tests/bench/law.c) $(O)/libpolicy.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^
guests: $(if $(TINY),$(O)/tests/tiny.elf) $(O)/tests/memhog $(O)/tests/work

setup:
	$(Q)tests/setup build

demo:
	$(Q)tests/setup build lab
	$(Q)$(MAKE) --no-print-directory programs guests
	$(Q)MEMD_BUILD=$(O) tests/demo/demo

# On all processors unless -j says otherwise; the lab's image, mostly a download, is made meanwhile. Labs
# tell themselves when they have none.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
check:
	$(Q)tests/setup build lab lint
	$(Q)$(MAKE) $(JOBS) --no-print-directory $(if $(CHECK),,lab-image) programs guests tests
	$(Q)MEMD_BUILD=$(O) MEMD_SAN='$(SAN)' tests/run $(CHECK)
lab-image:
	$(Q)tests/lab/lab image || true

bench:
	$(Q)tests/setup build lab
	$(Q)$(MAKE) --no-print-directory programs guests $(addprefix $(O)/tests/bench/,vmm-idle inflate ksm-load law)
	$(Q)MEMD_BUILD=$(O) tests/bench/bench $(PART)

# Each rule of the policy switched off in turn: some test of it has to fail. FAULTS= for some only.
MUTATION := $(sort $(wildcard tests/unit/policy_*.c))
mutation:
	$(Q)tests/setup build
	$(Q)tests/mutation $(FAULTS)
mutants: $(MUTATION:tests/unit/%.c=$(O)/tests/unit/%)

lint:
	$(Q)tests/setup build lint
	$(Q)MEMD_BUILD=$(O) tests/lint

format:
	$(Q)clang-format -i $(shell git ls-files '*.c' '*.h')

# Fuzzers run SECONDS each from their corpora; `make check` replays the corpora.
SECONDS_EACH ?= 60
FUZZ := $(sort $(filter-out %/replay.c,$(wildcard tests/fuzz/*.c)))
FUZZ_CC := clang -std=gnu17 -D_GNU_SOURCE -DMEMD_VERSION='"$(VERSION)"' -I. -O1 -g $(PKG_CFLAGS) \
	-fno-sanitize-recover=undefined
$(O)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c -o $@ $<
define fuzzlib
$(O)/fuzz/lib$(1).a: $(patsubst %.c,$(O)/fuzz/obj/%.o,$(filter-out %/main.c,$(2)))
	$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(eval $(call fuzzlib,common,$(COMMON)))
$(eval $(call fuzzlib,policy,$(POLICY)))
$(eval $(call fuzzlib,vmm,$(VMM)))
$(eval $(call fuzzlib,memd,$(MEMD)))
define fuzzer
$(O)/fuzz/$(1)_%: $(O)/fuzz/obj/tests/fuzz/$(1)_%.o $(addprefix $(O)/fuzz/lib,$(addsuffix .a,$(2)))
	$$(call say,FUZZ,$$@)
	$$(Q)$$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $$@ $$^ $(3)
endef
$(eval $(call fuzzer,common,common,$$(JSON_LIBS)))
$(eval $(call fuzzer,policy,policy common,))
$(eval $(call fuzzer,vmm,vmm common,$$(VMM_LIBS)))
$(eval $(call fuzzer,memd,memd policy common,$$(MEMD_LIBS)))
fuzz:
	$(Q)tests/setup build lint
	$(Q)$(MAKE) --no-print-directory $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(FUZZ))
	$(Q)for f in $(patsubst tests/fuzz/%.c,%,$(FUZZ)); do mkdir -p $(O)/fuzz/corpus/$$f tests/corpus/$$f; \
		echo "  FUZZ    $$f for $(SECONDS_EACH) s"; \
		$(O)/fuzz/$$f -max_total_time=$(SECONDS_EACH) -print_final_stats=0 -verbosity=0 \
		-artifact_prefix=$(O)/fuzz/ $(O)/fuzz/corpus/$$f tests/corpus/$$f || exit 1; done

INSTALL := install
install: programs
	$(INSTALL) -d $(DESTDIR)$(sbindir) $(DESTDIR)$(bindir) $(DESTDIR)$(mandir)/man1 $(DESTDIR)$(mandir)/man5 \
		$(DESTDIR)$(mandir)/man8 $(DESTDIR)$(unitdir) $(DESTDIR)$(completiondir) $(DESTDIR)$(sysconfdir)/memd
	$(INSTALL) -m 0755 $(O)/vmm $(O)/memctl $(DESTDIR)$(bindir)
	$(INSTALL) -m 0755 $(O)/memd $(DESTDIR)$(sbindir)
	$(INSTALL) -m 0644 vmm/vmm.1 tools/memctl.1 $(DESTDIR)$(mandir)/man1
	$(INSTALL) -m 0644 memd/memd.conf.5 $(DESTDIR)$(mandir)/man5
	$(INSTALL) -m 0644 memd/memd.8 $(DESTDIR)$(mandir)/man8
	$(INSTALL) -m 0644 tools/completion/memctl tools/completion/vmm tools/completion/memd $(DESTDIR)$(completiondir)
	sed 's|@sbindir@|$(sbindir)|' memd/memd.service.in > $(DESTDIR)$(unitdir)/memd.service
	[ -e $(DESTDIR)$(sysconfdir)/memd/memd.conf ] || $(INSTALL) -m 0644 memd/memd.conf $(DESTDIR)$(sysconfdir)/memd/memd.conf

uninstall:
	rm -f $(DESTDIR)$(bindir)/vmm $(DESTDIR)$(bindir)/memctl $(DESTDIR)$(sbindir)/memd \
		$(DESTDIR)$(mandir)/man1/vmm.1 $(DESTDIR)$(mandir)/man1/memctl.1 $(DESTDIR)$(mandir)/man5/memd.conf.5 \
		$(DESTDIR)$(mandir)/man8/memd.8 $(DESTDIR)$(unitdir)/memd.service $(DESTDIR)$(completiondir)/memctl \
		$(DESTDIR)$(completiondir)/vmm $(DESTDIR)$(completiondir)/memd

# The lab's image is expensive and stays; `make distclean` takes it too.
clean:
	$(Q)find $(O) -mindepth 1 -maxdepth 1 ! -name lab -exec rm -rf {} + 2>/dev/null || true
distclean:
	$(Q)rm -rf $(O)
.PHONY: distclean

-include $(shell find $(O)/obj $(O)/fuzz/obj -name '*.d' 2>/dev/null)
