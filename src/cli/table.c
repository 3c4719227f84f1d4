/* table.c - tables, JSON and names of processes, as the commands print them. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *memory)
{
	if (memory)
		return memory;
	cli_error("out of memory");
	exit(CLI_FAILED);
}

void table_row(struct table *table)
{
	size_t size = (table->n_rows + 1) * sizeof(*table->rows);

	table->rows = checked(realloc(table->rows, size));
	memset(table->rows[table->n_rows++], 0, sizeof(*table->rows));
}

void table_cell(struct table *table, unsigned column, const char *format, ...)
{
	char **cell = &table->rows[table->n_rows - 1][column];
	va_list args;

	free(*cell);
	*cell = NULL;
	va_start(args, format);
	if (vasprintf(cell, format, args) < 0)
		*cell = NULL;
	va_end(args);
	checked(*cell);
}

void table_init(struct table *table, unsigned n_columns, uint32_t right, const char *const *heads)
{
	*table = (struct table){.n_columns = n_columns, .right = right};
	table_row(table);
	for (unsigned i = 0; i < n_columns; i++)
		table_cell(table, i, "%s", heads[i]);
}

static void print_row(const struct table *table, char **cells, const int *width)
{
	unsigned last = 0;

	for (unsigned i = 0; i < table->n_columns; i++)
		if (cells[i] && *cells[i])
			last = i;
	for (unsigned i = 0; i <= last; i++) {
		const char *cell = cells[i] ? cells[i] : "";

		if (table->right & 1u << i)
			printf("%*s", width[i], cell);
		else
			printf("%-*s", i == last ? 0 : width[i], cell);
		fputs(i == last ? "\n" : "  ", stdout);
	}
}

void table_free(struct table *table)
{
	for (unsigned row = 0; row < table->n_rows; row++)
		for (unsigned i = 0; i < table->n_columns; i++)
			free(table->rows[row][i]);
	free(table->rows);
	*table = (struct table){0};
}

void table_print(struct table *table)
{
	int width[TABLE_COLUMNS] = {0};

	for (unsigned row = 0; row < table->n_rows; row++)
		for (unsigned i = 0; i < table->n_columns; i++) {
			const char *cell = table->rows[row][i];
			int length = cell ? (int)strlen(cell) : 0;

			if (length > width[i])
				width[i] = length;
		}
	for (unsigned row = 0; row < table->n_rows; row++)
		print_row(table, table->rows[row], width);
	table_free(table);
}

void json_print(json_t *json)
{
	checked(json);
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
}

const char *pid_command(int pid, char *buf, size_t size)
{
	char path[40];
	FILE *file;

	buf[0] = '\0';
	if (pid <= 0)
		return buf;
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return buf;
	if (!fgets(buf, (int)size, file))
		buf[0] = '\0';
	fclose(file);
	buf[strcspn(buf, "\n")] = '\0';
	for (char *at = buf; *at; at++) /* any program can choose these bytes */
		if (*at < ' ' || *at > '~')
			*at = '?';
	return buf;
}
