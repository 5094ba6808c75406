// SPDX-License-Identifier: Apache-2.0
/* vmm: one guest per process. Exit status: 0 the guest or a host request ended it, 1, 2 usage. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/options.h"
#include "vmm/qmp.h"
#include "vmm/sandbox.h"
#include "vmm/vm.h"

/* Sockets are unlinked at the end, so their directories stay in reach. */
static int confine(const struct options *options)
{
	struct sandbox_config config = {.user = options->user.is_given ? &options->user : NULL};
	const char *const ends[] = {options->serial, options->console};

	if (options->qmp)
		config.sockets[config.n_sockets++] = options->qmp;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (ends[i] && strncmp(ends[i], "unix:", 5) == 0)
			config.sockets[config.n_sockets++] = ends[i] + 5;
	for (size_t i = 0; i < options->n_memory; i++)
		config.dumps_core = config.dumps_core || options->memory[i].dump;
	return sandbox_enter(&config);
}

int main(int argc, char **argv)
{
	struct options options;
	struct qmp *qmp = NULL;
	struct vm *vm = NULL;
	int status = EXIT_FAILURE;

	/* An arena per vCPU thread would cost more than all our data. */
	mallopt(M_ARENA_MAX, 1);
	log_init("vmm", LOG_LEVEL_INFO);
	switch (options_parse(argc, argv, &options)) {
	case OPTIONS_RUN:
		break;
	case OPTIONS_DONE:
		return EXIT_SUCCESS;
	case OPTIONS_USAGE:
		return 2;
	}
	if (!sandbox_prepare(options.sandbox) && !vm_new(&options, &vm) &&
	    (!options.qmp || !qmp_new(vm, options.qmp, &qmp)) && !confine(&options) &&
	    !vm_start(vm))
		status = vm_run(vm);
	qmp_free(qmp);
	vm_free(vm);
	return status;
}
