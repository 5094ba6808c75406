// SPDX-License-Identifier: Apache-2.0
/* vmm: one guest per process. Exit status: 0 the guest or a host request ended it, 1, 2 usage. */
#include <malloc.h>
#include <stdlib.h>

#include "common/log.h"
#include "vmm/options.h"
#include "vmm/qmp.h"
#include "vmm/vm.h"

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
	if (!vm_new(&options, &vm) && (!options.qmp || !qmp_new(vm, options.qmp, &qmp)))
		status = vm_run(vm);
	qmp_free(qmp);
	vm_free(vm);
	return status;
}
