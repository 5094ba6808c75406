/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of options.c and options_keys.c only. */
#ifndef MEMD_VMM_OPTIONS_IMPL_H
#define MEMD_VMM_OPTIONS_IMPL_H

#include <stdbool.h>

#include "vmm/options.h"

/* "on" or "off"; false: neither. */
bool options_on_off(const char *text, bool *ret_on);

/*
 * The value of --memory: one node more; of --disk: one disk more; of --balloon: "on", "off" or
 * keys. -EINVAL: logged.
 */
int options_parse_memory(const char *text, struct options *options);
int options_parse_disk(const char *text, struct options *options);
int options_parse_mem_device(const char *text, struct options *options); /* one device more */
int options_parse_balloon(const char *text, struct options *options);
/* The value of --net: one interface more. */
int options_parse_net(const char *text, struct options *options);

#endif
