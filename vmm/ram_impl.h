/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of ram*.c only: one ram_piece stands behind each public ram_region. ram.c owns the list,
 * ram_access.c the accessors, ram_map.c mapping and advice, ram_populate.c filling, ram_bind.c host
 * nodes and placement, ram_pool.c the hugetlb pools, ram_return.c giving back, ram_credit.c because
 * of whom what is free, ram_hold.c what the balloon holds, ram_merge.c merging, ram_collapse.c the
 * return of huge pages, ram_place.c moves between host nodes, ram_plug.c pluggable memory, whose
 * pieces are apart from the others.
 */
#ifndef MEMD_VMM_RAM_IMPL_H
#define MEMD_VMM_RAM_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/ram.h"

#define RAM_SMALL_BYTES 4096ULL

#define RAM_HUGE_BYTES (2ULL << 20)
#define RAM_GIB_PAGE   (1ULL << 30)

struct ram_piece {
	struct ram_region region;
	enum ram_pages pages;
	uint64_t page_bytes; /* the unit of return: 4096, or the pool's page size */
	bool prealloc;	     /* is to be filled at all times */
	bool is_buffer;	     /* the caller's memory, not ours to unmap or advise */
	const struct ram_config *config;

	/*
	 * What is known of each 4 KiB page that was resident when it was given back, two bits:
	 * neither: nothing; [0]: the balloon has it; [1]: reported free; both: given back once and
	 * then deflated untouched, so free but nobody's merit.
	 */
	uint64_t *credit[2];

	/*
	 * What the balloon holds, per 4 KiB page and counted per unit, which is the pool's page or
	 * a huge page's 2 MiB. The last unit may be short, but of the pool.
	 */
	uint64_t unit_bytes; /* 0: nothing is held here */
	uint64_t *held;	     /* bit per 4 KiB page: it is in the balloon */
	uint32_t *n_held;    /* per unit: how many of its bits are set */

	/* hugetlb only */
	uint64_t *plain; /* bit per host page: it went, ordinary memory is mapped there */

	/* not hugetlb */
	uint64_t *waiting; /* bit per 4 KiB page: held, and not given back yet */
	uint64_t *open;	   /* bit per unit: pages of it wait */
	uint64_t *aged;	   /* bit per open unit: nothing new since the last ram_settle */
	uint64_t *torn;	   /* thp only, bit per unit: given back in part, so hardly a huge page any
			      more */

	uint64_t *merged; /* bit per RAM_MERGE_CHUNK: KSM may merge it; not on hugetlb */
};

/* A region of pluggable memory. */
struct ram_plug {
	struct ram_piece piece;
	struct ram_plug_config config;
	uint64_t n_blocks, n_plugged, n_runs;
	uint64_t *plugged; /* bit per block */
	uint32_t *gone;	   /* per block: pages that were resident when it was unplugged */
	uint64_t n_gone;   /* their sum */
	bool merge;	   /* as read back */
};

struct ram {
	struct ram_config configs[RAM_NODES_MAX];
	size_t n_configs;
	struct ram_piece pieces[RAM_REGIONS_MAX];
	size_t n_pieces;
	uint64_t size_bytes;
	struct ram_plug plugs[RAM_PLUGS_MAX];
	size_t n_plugs;
	/* Of /proc/self, or -1; opened once, for a confined process can open nothing. */
	int pagemap_fd, smaps_fd, maps_fd;
	uint64_t merge_maps_max;
	unsigned int maps_made; /* upper bound of mappings that replacing has added */
	bool maps_full_logged;
	unsigned int n_open; /* units with pages that wait */
	size_t settle_piece; /* where the next unit is looked for when too many are open */
	uint64_t settle_unit;
	struct ram_collapse *collapse; /* NULL: not running */
	struct ram_place *place;       /* NULL: never moved */
};

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- bits ---- */

static inline bool bit_get(const uint64_t *words, uint64_t i)
{
	return words[i / 64] >> (i % 64) & 1;
}

static inline void bit_set(uint64_t *words, uint64_t i)
{
	words[i / 64] |= 1ULL << (i % 64);
}

static inline void bit_clear(uint64_t *words, uint64_t i)
{
	words[i / 64] &= ~(1ULL << (i % 64));
}

/* Set n bits from the first on, or clear them; returns how many of them were different. */
static inline uint64_t bits_fill(uint64_t *words, uint64_t first, uint64_t n, bool on)
{
	uint64_t changed = 0;

	while (n) {
		uint64_t at = first % 64, take = n < 64 - at ? n : 64 - at;
		uint64_t mask = (take == 64 ? ~0ULL : (1ULL << take) - 1) << at;
		uint64_t *word = &words[first / 64], old = *word;
		uint64_t value = on ? old | mask : old & ~mask;

		/* Untouched words stay untouched: they cost no host memory. */
		if (value != old)
			*word = value;
		changed += (uint64_t)__builtin_popcountll(value ^ old);
		first += take;
		n -= take;
	}
	return changed;
}

/* The first bit in [from, end) that is set (or, with on false, clear); end: none. */
static inline uint64_t bits_find(const uint64_t *words, uint64_t from, uint64_t end, bool on)
{
	while (from < end) {
		uint64_t word = (on ? words[from / 64] : ~words[from / 64]) >> (from % 64);

		if (word) {
			from += (uint64_t)__builtin_ctzll(word);
			return from < end ? from : end;
		}
		from += 64 - from % 64;
	}
	return end;
}

/* ---- ram_map.c ---- */

/* Map piece->region.size_bytes as its page mode asks, set hva. Not yet bound, nothing touched. */
int ram_piece_map(struct ram_piece *piece);
/* Say so when a node wants transparent huge pages and the host has them switched off. */
void ram_warn_no_thp(const struct ram *ram);
/* Advice that has to precede the first touch: huge pages, core dumps, fork, name. */
void ram_piece_advise(const struct ram_piece *piece, const struct ram_config *config);
/*
 * Replace [hva, hva + len), whole host pages of a pool piece, by ordinary memory (pool false) or by
 * populated pool pages (true; -ENOMEM: the pool has not enough, nothing changed). Content is lost.
 */
int ram_piece_replace(const struct ram *ram, const struct ram_piece *piece, uint8_t *hva,
		      uint64_t len, bool pool);
/* Read one of the text files of struct ram from its start; NULL: errno says why not. */
FILE *ram_reread(int fd);
/* Are all mappings of [hva, hva + len) marked with the two-letter VmFlag? -errno of reading. */
int ram_read_flag(const struct ram *ram, const uint8_t *hva, uint64_t len, const char *flag,
		  bool *ret_all);

/* ---- ram_populate.c ---- */

/*
 * Take host memory for [hva, hva + len) now; on what is there already nothing changes. Several
 * threads when it is large: with config on processors of its host nodes, so that the pages are
 * zeroed where they lie, without (the guest runs already) anywhere. what: for the progress line.
 * -EFAULT: hugetlb pool ran short; -ENOMEM.
 */
int ram_populate(const struct ram_config *config, uint8_t *hva, uint64_t len, uint64_t page_bytes,
		 const char *what);
/* The same by the caller alone. */
int ram_populate_slice(uint8_t *hva, uint64_t len);
/*
 * Can prealloc=on have its memory at all, by MemAvailable and free swap? -ENOMEM: logged. Without
 * it the kernel finds out by killing processes, and on a host of guests the largest is another
 * guest.
 */
int ram_populate_check(const struct ram *ram);
/* Write zeroes, with several threads. */
void ram_zero(uint8_t *hva, uint64_t len);
/* After populating a node: log where it lies, with a warning when that is not where it is bound. */
void ram_check_placement(const struct ram *ram, unsigned int node);

/* ---- ram_bind.c ---- */

/*
 * Do the nodes exist and have memory? -ENODEV: logged with the nodes that there are. of, index: the
 * "node" or "device" that it is for.
 */
int ram_bind_check(const struct ram_config *config, const char *of, unsigned int index);
/* Apply the policy to [hva, hva + len) before its first touch. -errno of mbind(2), not logged. */
int ram_bind(const struct ram_config *config, uint8_t *hva, uint64_t len);

/* The same for memory that is in use: what lies elsewhere and is nobody else's moves there. */
int ram_bind_move(const struct ram_config *config, uint8_t *hva, uint64_t len);

/*
 * Where [hva, hva + len) lies: samples of its pages are looked at, ret_bytes[host node] is added to
 * in proportion, what is absent to none. -errno of move_pages(2).
 */
int ram_bind_look(const uint8_t *hva, uint64_t len, uint64_t page_bytes, uint64_t *ret_bytes);

/* ---- ram_pool.c ---- */

/*
 * Does the pool have `pages` free pages where the configuration wants them? -ENOMEM and
 * -EOPNOTSUPP (no pool of this size) are logged with numbers and the command that helps.
 */
int ram_pool_check(const struct ram_config *config, const char *of, unsigned int index,
		   uint64_t pages);
/* Populating has failed although the check passed: log what the pool says now. */
void ram_pool_log_shortage(const struct ram_config *config, unsigned int node, uint64_t pages);

/* ---- ram_return.c ---- */

/* Bitmaps of a piece. -ENOMEM. */
int ram_return_init(struct ram_piece *piece);
void ram_return_free(struct ram_piece *piece);
/*
 * Give [off, off + len) of a piece of ordinary memory back with one madvise, accounted to giver.
 * -errno: nothing is accounted.
 */
int ram_piece_drop(struct ram_piece *piece, uint64_t off, uint64_t len, enum ram_giver giver);
/* [off, off + len), whole huge pages, was replaced: nothing is known of it any more. */
void ram_return_forget(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len);

/* ---- ram_credit.c ---- */

/* Bitmaps of a piece: nothing is known of any page. -ENOMEM. */
int ram_credit_init(struct ram_piece *piece);
void ram_credit_free(struct ram_piece *piece);
void ram_credit_clear(struct ram_piece *piece);
/*
 * Before [off, off + len) goes: credit the giver with what is resident now, or was when it was
 * first given back and has been absent since. A page that the guest never touched frees nothing.
 */
void ram_credit(struct ram_piece *piece, uint64_t off, uint64_t len, enum ram_giver giver);
/* Nothing is known of it any more. */
void ram_credit_forget(struct ram_piece *piece, uint64_t off, uint64_t len);
/* It may be used again, and what is absent of it is nobody's merit. */
void ram_credit_nobody(struct ram_piece *piece, uint64_t off, uint64_t len);
/* Is any page of [off, off + len) credited to reporting? */
bool ram_is_reported(const struct ram_piece *piece, uint64_t off, uint64_t len);

/* ---- ram_hold.c ---- */

/* Bitmaps of a piece; nothing on a caller's buffer. -ENOMEM. */
int ram_hold_init(struct ram_piece *piece);
void ram_hold_free(struct ram_piece *piece);
/* Bytes of a unit: all are unit_bytes but the last of a piece of thp. */
uint64_t ram_hold_unit_bytes(const struct ram_piece *piece, uint64_t unit);
/* The balloon holds [off, off + len), or no more. */
void ram_hold(struct ram_piece *piece, uint64_t off, uint64_t len, bool on);
/* Does it hold all of that unit? */
bool ram_hold_is_whole(const struct ram_piece *piece, uint64_t unit);
/*
 * Not hugetlb: hold [off, off + len); units that are held wholly now are given back, neighbours
 * together, what is in others waits for ram_settle. The first -errno of giving back.
 */
int ram_hold_lazily(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len);
/* Not hugetlb: [off, off + len) is not held any more and does not wait. */
void ram_hold_release(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len);
/* Hold nothing, nothing waits. */
void ram_hold_forget(struct ram *ram, struct ram_piece *piece);
/*
 * Note that [off, off + len) of thp goes: units that it covers in part are torn, and with prealloc
 * those that the balloon gives back as a whole, too, for they are to be filled again.
 */
void ram_hold_tear(struct ram_piece *piece, uint64_t off, uint64_t len, enum ram_giver giver);

/* ---- ram_merge.c ---- */

/* Into how many mappings ranges may cut guest RAM on this host. */
uint64_t ram_merge_maps_max(void);
/* The bitmap of a piece: nothing is merged. -ENOMEM. */
int ram_merge_init(struct ram_piece *piece);
void ram_merge_free(struct ram_piece *piece);
/* May any of [off, off + len) be merged? */
bool ram_merge_any(const struct ram *ram, const struct ram_piece *piece, uint64_t off,
		   uint64_t len);

/* ---- ram_collapse.c ---- */

/* There may be torn units to bring back. Under bus_lock; nothing when it does not run. */
void ram_collapse_wake(struct ram *ram);

/* ---- ram_plug.c ---- */

/* Bytes from off on that are plugged, as ram_room tells them. */
uint64_t ram_plug_room(const struct ram_plug *plug, uint64_t off);
void ram_plug_free(struct ram_plug *plug);

/* ---- ram_access.c ---- */

/* The pieces one by one, those of pluggable memory last; NULL: no more. */
struct ram_piece *ram_piece_at(const struct ram *ram, size_t index);
/* The piece that gpa lies in, or NULL. */
struct ram_piece *ram_find_piece(const struct ram *ram, uint64_t gpa);

#endif
