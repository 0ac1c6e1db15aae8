/* What the DPDK peers share besides peer.h: EAL start, and a result in cycles an object. */
#ifndef DPDK_H
#define DPDK_H

#include "peer.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>

/* Starts EAL with the given lcore map. Without hugepages unless asked for, without devices, sockets or shared files. */
static inline void peer_eal(const char *program, const char *lcores, bool huge)
{
	char name[64], map[64];
	char *argv[16];
	int argc = 0;

	snprintf(name, sizeof(name), "%s", program);
	snprintf(map, sizeof(map), "%s", lcores);
	argv[argc++] = name;
	argv[argc++] = (char *)(uintptr_t)"--lcores";
	argv[argc++] = map;
	argv[argc++] = (char *)(uintptr_t)"--no-pci";
	argv[argc++] = (char *)(uintptr_t)"--no-telemetry";
	argv[argc++] = (char *)(uintptr_t)"--log-level=lib.eal:error";
	if (huge) {
		argv[argc++] = (char *)(uintptr_t)"--in-memory";
	} else {
		argv[argc++] = (char *)(uintptr_t)"--no-huge";
		argv[argc++] = (char *)(uintptr_t)"--no-shconf";
		argv[argc++] = (char *)(uintptr_t)"-m";
		argv[argc++] = (char *)(uintptr_t)"128";
	}
	argv[argc] = NULL;
	if (rte_eal_init(argc, argv) < 0)
		peer_die("%s: EAL with --lcores %s does not start: %s%s", program, lcores,
			 rte_strerror(rte_errno), huge ? ". Are hugepages free? Else leave out --huge" : "");
}

/* Ends a result begun by the caller with its name and fields of its own. */
static inline void peer_result(uint64_t cycles, uint64_t objects, uint64_t full, uint64_t empty)
{
	double each = objects == 0 ? 0.0 : (double)cycles / (double)objects;
	double hz = (double)rte_get_tsc_hz();

	printf("\"cycles_per_object\":%.3f,\"ns_per_object\":%.3f,\"objects\":%" PRIu64 ",\"cycles\":%" PRIu64
	       ",\"tsc_hz\":%.0f,\"full\":%" PRIu64 ",\"empty\":%" PRIu64 "}\n",
	       each, each / hz * 1e9, objects, cycles, hz, full, empty);
}

#endif
