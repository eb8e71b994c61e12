/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/table.h"

#include "base/buf.h"
#include "server/cli/show.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define GAP           2  /* columns between two */
#define FLEXIBLE_GOOD 32 /* others are left out before one that is cut has less */
#define FLEXIBLE_MIN  12 /* it never has less */
#define RANK_WORTH    2  /* columns of this rank and below are worth cutting one; others are left out at once */

struct table {
	const struct table_column *columns;
	size_t column_count;
	char **cells;
	size_t cell_count;
};

size_t columns_of(const char *text, size_t bytes)
{
	size_t columns = 0;
	for (size_t i = 0; i < bytes; i++)
		columns += ((unsigned char)text[i] & 0xc0) != 0x80;
	return columns;
}

size_t columns_there_are(void)
{
	const char *said = getenv("COLUMNS");
	struct winsize size;
	long columns = said ? strtol(said, NULL, 10) : 0;
	if (columns > 0)
		return (size_t)columns;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

const char *columns_print_words(FILE *out, const char *text, size_t indent, size_t used, size_t width)
{
	size_t column = used;
	while (*text && *text != '\n') {
		size_t bytes = strcspn(text, " \n"), word = columns_of(text, bytes);
		if (column > indent && column + 1 + word > width) {
			fputc('\n', out);
			column = 0;
		}
		if (column < indent)
			column += (size_t)fprintf(out, "%*s", (int)(indent - column), "");
		else if (column > indent)
			column += (size_t)fprintf(out, " ");
		fwrite(text, 1, bytes, out);
		column += word;
		text += bytes;
		text += *text == ' ';
	}
	fputc('\n', out);
	return text + strspn(text, "\n");
}

struct table *table_new(const struct table_column *columns, size_t count)
{
	struct table *table = mem_alloc(sizeof(*table));
	assert(count <= TABLE_COLUMNS_MAX);
	*table = (struct table){.columns = columns, .column_count = count};
	return table;
}

void table_add(struct table *table, const char *text)
{
	char plain[SHOW_TEXT_MAX];
	/* Room for twice as many when what there is was filled. */
	if ((table->cell_count & (table->cell_count - 1)) == 0)
		table->cells = mem_realloc(table->cells, (table->cell_count * 2 + 1) * sizeof(*table->cells));
	table->cells[table->cell_count++] = mem_strdup(show_plain(text, plain));
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->cell_count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}

/* Printing: a column's width, 0 for one that is left out. */

static void measure(const struct table *table, size_t widths[TABLE_COLUMNS_MAX])
{
	assert(table->column_count > 0);
	for (size_t i = 0; i < table->column_count; i++)
		widths[i] = strlen(table->columns[i].title);
	for (size_t i = 0; i < table->cell_count; i++) {
		size_t *width = &widths[i % table->column_count],
		       columns = columns_of(table->cells[i], strlen(table->cells[i]));
		if (columns > *width)
			*width = columns;
	}
}

static size_t sum(const struct table *table, const size_t widths[TABLE_COLUMNS_MAX])
{
	size_t all = 0;
	for (size_t i = 0; i < table->column_count; i++)
		all += widths[i] ? widths[i] + (all ? GAP : 0) : 0;
	return all;
}

/* Leaves out columns, the highest rank first, until all fit, or would with `spare` columns less. */
static void leave_out(const struct table *table, size_t widths[TABLE_COLUMNS_MAX], size_t width, size_t spare)
{
	for (;;) {
		size_t least = 0, allowed;
		for (size_t i = 0; i < table->column_count; i++)
			if (widths[i] && table->columns[i].rank >= table->columns[least].rank)
				least = i;
		allowed = width + (table->columns[least].rank <= RANK_WORTH ? spare : 0);
		if (table->columns[least].rank == 0 || sum(table, widths) <= allowed)
			return;
		widths[least] = 0;
	}
}

static void fit(const struct table *table, size_t widths[TABLE_COLUMNS_MAX], size_t width)
{
	size_t flexible = 0, excess, spare;
	while (flexible + 1 < table->column_count && !table->columns[flexible].flexible)
		flexible++;
	leave_out(table, widths, width, widths[flexible] > FLEXIBLE_GOOD ? widths[flexible] - FLEXIBLE_GOOD : 0);
	if (sum(table, widths) <= width || widths[flexible] <= FLEXIBLE_MIN)
		return;
	excess = sum(table, widths) - width;
	spare = widths[flexible] - FLEXIBLE_MIN;
	widths[flexible] -= excess < spare ? excess : spare;
}

/* What is shown of a text in `width` columns: its end. */
static const char *end_of(const char *text, size_t columns, size_t width)
{
	for (; columns > width; columns--)
		do
			text++;
		while (((unsigned char)*text & 0xc0) == 0x80);
	return text;
}

static void print_row(const struct table *table, FILE *out, const size_t widths[TABLE_COLUMNS_MAX], char *const *cells)
{
	size_t blank = 0; /* columns that are printed before the next text: no line ends in blanks */
	for (size_t i = 0; i < table->column_count; i++) {
		const char *text = cells ? cells[i] : table->columns[i].title;
		size_t columns = columns_of(text, strlen(text)), width = widths[i];
		bool cut = columns > width;
		if (width == 0)
			continue;
		if (cut) {
			text = end_of(text, columns, width - 1);
			columns = width;
		}
		if (table->columns[i].right)
			blank += width - columns;
		if (*text) {
			fprintf(out, "%*s%s%s", (int)blank, "", cut ? "…" : "", text);
			blank = 0;
		}
		blank += GAP + (table->columns[i].right ? 0 : width - columns);
	}
	fputc('\n', out);
}

void table_print(const struct table *table, FILE *out, size_t width)
{
	size_t widths[TABLE_COLUMNS_MAX];
	if (table->cell_count == 0)
		return;
	measure(table, widths);
	if (width)
		fit(table, widths, width);
	print_row(table, out, widths, NULL);
	for (size_t i = 0; i + table->column_count <= table->cell_count; i += table->column_count)
		print_row(table, out, widths, &table->cells[i]);
}
