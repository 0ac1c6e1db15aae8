/* What the peers share: options and the slice protocol of README.md. */
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

#endif
