/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables for terminals. Every cell is made safe to show (show.h). Where there is little room, columns of little weight
 * are left out, then one is cut at its beginning, as a reference's end says the most.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table_column {
	const char *title;
	bool right;    /* numbers */
	bool flexible; /* may be cut */
	unsigned rank; /* 0: always there; the highest are left out first */
};

struct table;

/* `columns` is borrowed. */
struct table *table_new(const struct table_column *columns, size_t count);
/* The next cell, row by row. */
void table_add(struct table *table, const char *text);
/* Title and rows in at most `width` columns; 0: in as many as it takes. Nothing where there are no rows. */
void table_print(const struct table *table, FILE *out, size_t width);
void table_free(struct table *table);

/* The columns that `bytes` of UTF-8 take: every character one. */
size_t columns_of(const char *text, size_t bytes);
/* How many there are on standard output: $COLUMNS, else the terminal's. 0: it is no terminal, and nothing needs to fit.
 */
size_t columns_there_are(void);
/* Prints the words of `text` up to an empty line or the end, in lines of `width` that begin at `indent`; the first has
 * `used` columns already. Returns what follows the paragraph. */
const char *columns_print_words(FILE *out, const char *text, size_t indent, size_t used, size_t width);
