/* rte_mempool on one core: the price of taking objects and giving them back. See README.md. */
#include "dpdk.h"

#include <rte_mbuf.h>
#include <rte_mempool.h>

#define KEEP_MAX 4096u

static unsigned int ms = 200, bulk = 32, cache = 512, objects = 8192, size = 2048, keep;
static bool single, mbufs;
static struct rte_mempool *pool;
static void *held[KEEP_MAX + PEER_BULK_MAX];

/* One round takes `keep` objects in bulks and returns them. Inlined with a constant bulk, as applications have it. */
static inline __attribute__((always_inline)) void take_and_return(const unsigned int n, const bool as_mbufs)
{
	for (unsigned int i = 0; i < keep; i += n) {
		int failed = as_mbufs ? rte_pktmbuf_alloc_bulk(pool, (struct rte_mbuf **)&held[i], n)
				      : rte_mempool_get_bulk(pool, &held[i], n);
		if (unlikely(failed))
			peer_die("the pool is empty: more --objects than --keep plus the --cache are needed");
	}
	for (unsigned int i = 0; i < keep; i += n) {
		if (as_mbufs)
			rte_pktmbuf_free_bulk((struct rte_mbuf **)&held[i], n);
		else
			rte_mempool_put_bulk(pool, &held[i], n);
	}
}

static inline __attribute__((always_inline)) void rounds(const unsigned int n, const bool as_mbufs)
{
	for (unsigned int i = 0; i < 64; i++)
		take_and_return(n, as_mbufs);
}

static void measure(void)
{
	const uint64_t start = rte_rdtsc_precise();
	const uint64_t until = start + rte_get_tsc_hz() / 1000 * ms;
	uint64_t now, moved = 0;

	do {
		if (mbufs) {
			switch (bulk) {
			case 1: rounds(1, true); break;
			case 8: rounds(8, true); break;
			case 32: rounds(32, true); break;
			default: rounds(bulk, true); break;
			}
		} else {
			switch (bulk) {
			case 1: rounds(1, false); break;
			case 8: rounds(8, false); break;
			case 32: rounds(32, false); break;
			default: rounds(bulk, false); break;
			}
		}
		moved += 64ull * keep;
		now = rte_rdtsc_precise();
	} while (now < until);

	printf("{\"name\":\"%s-%s%s-%u\",\"bulk\":%u,\"cache\":%u,\"keep\":%u,\"sync\":\"%s\",",
	       mbufs ? "mbuf" : "mempool", cache ? "cache" : "nocache", single ? "-sp" : "", bulk, bulk, cache, keep,
	       single ? "sp/sc" : "mp/mc");
	peer_result(now - start, moved, 0, 0);
}

static const char usage[] =
	"mempool_peer [--core N] [--ms N] [--bulk N] [--cache N] [--keep N] [--objects N] [--size BYTES]\n"
	"             [--single] [--mbuf] [--huge] [--once]";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"core", required_argument, NULL, 'c'},  {"ms", required_argument, NULL, 'm'},
		{"bulk", required_argument, NULL, 'b'},  {"cache", required_argument, NULL, 'k'},
		{"keep", required_argument, NULL, 'p'},  {"objects", required_argument, NULL, 'o'},
		{"size", required_argument, NULL, 's'},  {"single", no_argument, NULL, '1'},
		{"mbuf", no_argument, NULL, 'f'},	 {"huge", no_argument, NULL, 'h'},
		{"once", no_argument, NULL, 'e'},	 {NULL, 0, NULL, 0},
	};
	unsigned int core = 0;
	bool huge = false, once = false;
	char lcores[32];
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c': core = peer_number("core", optarg, 0, 1023); break;
		case 'm': ms = peer_number("ms", optarg, 1, PEER_MS_MAX); break;
		case 'b': bulk = peer_number("bulk", optarg, 1, PEER_BULK_MAX); break;
		case 'k': cache = peer_number("cache", optarg, 0, RTE_MEMPOOL_CACHE_MAX_SIZE); break;
		case 'p': keep = peer_number("keep", optarg, 1, KEEP_MAX); break;
		case 'o': objects = peer_number("objects", optarg, 64, 1 << 20); break;
		case 's': size = peer_number("size", optarg, 64, 16384); break;
		case '1': single = true; break;
		case 'f': mbufs = true; break;
		case 'h': huge = true; break;
		case 'e': once = true; break;
		default: peer_die("%s", usage);
		}
	}
	if (optind != argc)
		peer_die("%s: unknown argument\n%s", argv[optind], usage);
	keep = (keep < bulk ? bulk : keep + bulk - 1) / bulk * bulk; /* whole bulks */
	if (single && mbufs)
		peer_die("--single and --mbuf: packet pools are multi-producer; keep one of them");

	peer_core("core", core);
	snprintf(lcores, sizeof(lcores), "0@%u", core);
	peer_eal(argv[0], lcores, huge);
	/* 2^n - 1 objects fill DPDK's rings best; its guide recommends it. */
	if (mbufs)
		pool = rte_pktmbuf_pool_create("peer", objects - 1, cache, 0, (uint16_t)size, 0);
	else
		pool = rte_mempool_create("peer", objects - 1, size, cache, 0, NULL, NULL, NULL, NULL, 0,
					  single ? RTE_MEMPOOL_F_SP_PUT | RTE_MEMPOOL_F_SC_GET : 0);
	if (pool == NULL)
		peer_die("a pool of %u objects of %u bytes, cache %u: %s", objects - 1, size, cache,
			 rte_strerror(rte_errno));
	peer_serve(once, measure);
	return rte_eal_cleanup() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
