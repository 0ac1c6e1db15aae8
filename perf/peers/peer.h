/* What the DPDK peers share: options, EAL start, and the slice protocol of README.md. */
#ifndef PEER_H
#define PEER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif

#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>

#define PEER_BULK_MAX 512u

/* Slices between 1 ms and a minute: a typing error must not hang a bench. */
#define PEER_MS_MAX 60000u

__attribute__((noreturn, format(printf, 1, 2))) static void peer_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

static inline unsigned int peer_number(const char *option, const char *text, unsigned int min, unsigned int max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < min || value > max)
		peer_die("--%s %s: must be a number from %u to %u", option, text, min, max);
	return (unsigned int)value;
}

/* EAL answers a wrong core with three screens of usage on stdout, where results belong. */
static inline void peer_core(const char *option, unsigned int core)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &allowed))
		peer_die("--%s %u: this process may not run there; see taskset -cp $$", option, core);
}

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

/* Runs one slice a line of "go" on stdin until its end, or a single one at once. */
static inline void peer_serve(bool once, void (*slice)(void))
{
	char line[64];

	if (once) {
		slice();
		return;
	}
	puts("{\"ready\":true}");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (strcmp(line, "go\n") != 0)
			peer_die("stdin: expected the line \"go\", got \"%.*s\"", (int)strcspn(line, "\n"), line);
		slice();
		fflush(stdout);
	}
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
