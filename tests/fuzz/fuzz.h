/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer is one file with one function, FUZZ_TEXT or FUZZ_BYTES, which libFuzzer calls with all it can think of. It
 * aborts when what must always hold does not (FUZZ_HOLDS); the sanitizers find the rest.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define FUZZ_HOLDS(condition)                                                                                          \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			abort();                                                                                       \
	} while (0)

/* Bytes in memory of their own, so that a step beyond them is noticed. */
#define FUZZ_BYTES(data, len)                                                                                          \
	static void fuzz(const uint8_t *data, size_t len);                                                             \
	int LLVMFuzzerTestOneInput(const uint8_t *given, size_t given_len)                                             \
	{                                                                                                              \
		fuzz(given, given_len);                                                                                \
		return 0;                                                                                              \
	}                                                                                                              \
	static void fuzz(const uint8_t *data, size_t len)

/* A text, as C knows it. */
#define FUZZ_TEXT(text)                                                                                                \
	static void fuzz(const char *text);                                                                            \
	int LLVMFuzzerTestOneInput(const uint8_t *given, size_t given_len)                                             \
	{                                                                                                              \
		char *copy = malloc(given_len + 1);                                                                    \
                                                                                                                       \
		FUZZ_HOLDS(copy);                                                                                      \
		if (given_len > 0)                                                                                     \
			memcpy(copy, given, given_len);                                                                \
		copy[given_len] = '\0';                                                                                \
		fuzz(copy);                                                                                            \
		free(copy);                                                                                            \
		return 0;                                                                                              \
	}                                                                                                              \
	static void fuzz(const char *text)
