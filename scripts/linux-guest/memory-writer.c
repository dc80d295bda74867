/*
 * Fills memory, writes to pages of it at a rate, and checks before each write that the page has what was written last.
 * Of ten pages three are random, three are like text, four like numbers.
 * Usage: memory-writer MIB[:PAGES_PER_S]
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { page_bytes = 4096, words = page_bytes / sizeof(uint64_t), turns_per_s = 100 };

static uint64_t next(uint64_t x) {
  x ^= x << 13;
  x ^= x >> 7;
  return x ^ x << 17;
}

/* What a page has after so many writes. */
static void fill(uint64_t *page, uint64_t number, uint64_t writes) {
  uint64_t x = number * 0x9E3779B97F4A7C15u + writes + 1;
  page[0] = number;
  page[1] = writes;
  for (int i = 2; i < words; i++) {
    if (number % 10 < 3) page[i] = x = next(x);
    else if (number % 10 < 6) page[i] = (x >> i % 40 & 0x0707070707070707u) | 0x6060606060606060u;
    else page[i] = (uint64_t)i * (writes + 1) & 0x0f0f;
  }
}

int main(int argc, char **argv) {
  char *end = "";
  long mib = argc == 2 ? strtol(argv[1], &end, 10) : 0;
  long rate = *end == ':' ? atol(end + 1) : 1000;
  if (mib <= 0 || rate < 0) {
    fprintf(stderr, "usage: memory-writer MIB[:PAGES_PER_S]\n");
    return 2;
  }
  uint64_t pages = (uint64_t)mib * (1 << 20) / page_bytes;
  uint64_t *memory = aligned_alloc(page_bytes, pages * page_bytes);
  uint64_t *counts = calloc(pages, sizeof *counts);
  uint64_t expected[words];
  if (memory == NULL || counts == NULL) {
    printf("memory: not enough\n");
    return 1;
  }
  for (uint64_t i = 0; i < pages; i++) fill(memory + i * words, i, 0);
  printf("memory: filled %ld MiB\n", mib);
  fflush(stdout);
  uint64_t writes = 0, wrong = 0, x = 88172645463325252u;
  struct timespec pause = {0, 1000000000 / turns_per_s};
  for (long turn = 1;; turn++) {
    for (long i = 0; i < rate / turns_per_s; i++) {
      uint64_t number = (x = next(x)) % pages;
      fill(expected, number, counts[number]);
      if (memcmp(expected, memory + number * words, page_bytes) != 0) wrong++;
      fill(memory + number * words, number, ++counts[number]);
      writes++;
    }
    if (turn % turns_per_s == 0) {
      printf("memory: %" PRIu64 " written, %" PRIu64 " wrong\n", writes, wrong);
      fflush(stdout);
    }
    nanosleep(&pause, NULL);
  }
}
