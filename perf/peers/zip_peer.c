/* zlib as a peer: a file as one raw DEFLATE stream, in pieces; both directions. See README.md. */
#include "peer.h"

#include <time.h>
#include <zlib.h>

/* A slice ends with a whole pass over the file. */
#define FILE_MAX (1u << 30)
#define PIECE_MAX (1u << 20)

static unsigned int ms = 200, piece = 65536;
static int level = 1;
static bool inflates;
static unsigned char *plain, *compressed, *room;
static size_t plain_bytes, compressed_bytes;
static z_stream deflater, inflater;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The file as one stream; into `keep`, or over and over into the room of one piece. */
static size_t deflate_all(unsigned char *keep, size_t keep_bytes)
{
	if (deflateReset(&deflater) != Z_OK)
		peer_die("deflateReset failed");
	for (size_t at = 0; at < plain_bytes; at += piece) {
		size_t left = plain_bytes - at, n = left < piece ? left : piece;
		int flush = n == left ? Z_FINISH : Z_NO_FLUSH, status;

		deflater.next_in = plain + at;
		deflater.avail_in = (uInt)n;
		do {
			unsigned char *out = keep == NULL ? room : keep + deflater.total_out;
			size_t space = keep == NULL ? piece : keep_bytes - deflater.total_out;

			deflater.next_out = out;
			deflater.avail_out = (uInt)(space < piece ? space : piece);
			status = deflate(&deflater, flush);
			if (status == Z_STREAM_ERROR)
				peer_die("deflate failed");
		} while (deflater.avail_out == 0 && status != Z_STREAM_END);
	}
	return deflater.total_out;
}

/* The stream in pieces; compares what comes out with the file if asked to. */
static void inflate_all(bool compare)
{
	int status = Z_OK;

	if (inflateReset(&inflater) != Z_OK)
		peer_die("inflateReset failed");
	for (size_t at = 0; at < compressed_bytes; at += piece) {
		size_t left = compressed_bytes - at;

		inflater.next_in = compressed + at;
		inflater.avail_in = (uInt)(left < piece ? left : piece);
		do {
			size_t before = inflater.total_out;

			inflater.next_out = room;
			inflater.avail_out = piece;
			status = inflate(&inflater, Z_NO_FLUSH);
			if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
				peer_die("inflate failed: %d", status);
			if (compare && memcmp(room, plain + before, inflater.total_out - before) != 0)
				peer_die("zlib gives other bytes than it was given");
		} while (inflater.avail_out == 0 && status != Z_STREAM_END);
	}
	if (status != Z_STREAM_END || inflater.total_out != plain_bytes)
		peer_die("inflate: the stream does not end where it should");
}

static void measure(void)
{
	const uint64_t wall = now_ns(CLOCK_MONOTONIC), begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
	uint64_t used, passes = 0;

	do {
		if (inflates)
			inflate_all(false);
		else
			deflate_all(NULL, 0);
		passes++;
		used = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
	} while (used < (uint64_t)ms * 1000000u);
	printf("{\"name\":\"zlib %s\",\"bytes\":%" PRIu64 ",\"compressed\":%zu,\"cpu_ns\":%" PRIu64 ",\"wall_ns\":%" PRIu64
	       "}\n",
	       zlibVersion(), passes * plain_bytes, compressed_bytes, used, now_ns(CLOCK_MONOTONIC) - wall);
}

static void load(const char *path)
{
	FILE *file = fopen(path, "rb");

	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
		peer_die("--file %s: cannot be read", path);
	long bytes = ftell(file);
	if (bytes <= 0 || (unsigned long)bytes > FILE_MAX)
		peer_die("--file %s: %ld bytes: 1 to %u are needed", path, bytes, FILE_MAX);
	rewind(file);
	plain_bytes = (size_t)bytes;
	plain = malloc(plain_bytes);
	if (plain == NULL || fread(plain, 1, plain_bytes, file) != plain_bytes)
		peer_die("--file %s: cannot be read", path);
	fclose(file);
}

static const char usage[] = "zip_peer --file FILE [--core N] [--ms N] [--level N] [--piece N] [--inflate] [--once]";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"core", required_argument, NULL, 'c'},	 {"ms", required_argument, NULL, 'm'},
		{"file", required_argument, NULL, 'f'},	 {"level", required_argument, NULL, 'l'},
		{"piece", required_argument, NULL, 'p'}, {"inflate", no_argument, NULL, 'i'},
		{"once", no_argument, NULL, 'e'},	 {NULL, 0, NULL, 0},
	};
	unsigned int core = 0;
	bool once = false;
	cpu_set_t only;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c': core = peer_number("core", optarg, 0, 1023); break;
		case 'm': ms = peer_number("ms", optarg, 1, PEER_MS_MAX); break;
		case 'f': load(optarg); break;
		case 'l': level = (int)peer_number("level", optarg, 0, 9); break;
		case 'p': piece = peer_number("piece", optarg, 64, PIECE_MAX); break;
		case 'i': inflates = true; break;
		case 'e': once = true; break;
		default: peer_die("%s", usage);
		}
	}
	if (optind != argc || plain == NULL)
		peer_die("%s", usage);

	peer_core("core", core);
	CPU_ZERO(&only);
	CPU_SET(core, &only);
	if (sched_setaffinity(0, sizeof(only), &only) != 0)
		peer_die("--core %u: cannot move there", core);
	if (deflateInit2(&deflater, level, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    inflateInit2(&inflater, -MAX_WBITS) != Z_OK)
		peer_die("zlib does not start");

	size_t bound = deflateBound(&deflater, plain_bytes) + PIECE_MAX;

	compressed = malloc(bound);
	room = malloc(piece);
	if (compressed == NULL || room == NULL)
		peer_die("out of memory");
	compressed_bytes = deflate_all(compressed, bound);
	inflate_all(true);
	peer_serve(once, measure);
	return EXIT_SUCCESS;
}
