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

char *cli_plain(char *text)
{
	for (unsigned char *at = (unsigned char *)text; *at; at++) {
		bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0; /* as UTF-8 */

		if (c1)
			at[1] = '?';
		if (c1 || *at < ' ' || *at == 0x7f)
			*at = '?';
	}
	return text;
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
	cli_plain(checked(*cell));
}

void table_init(struct table *table, unsigned n_columns, uint32_t right, const char *const *heads)
{
	*table = (struct table){.n_columns = n_columns, .right = right};
	table_row(table);
	for (unsigned i = 0; i < n_columns; i++)
		table_cell(table, i, "%s", heads[i]);
}

static void print_row(const struct table *table, char **cells, const int *width, FILE *to)
{
	unsigned last = 0;

	for (unsigned i = 0; i < table->n_columns; i++)
		if (cells[i] && *cells[i])
			last = i;
	for (unsigned i = 0; i <= last; i++) {
		const char *cell = cells[i] ? cells[i] : "";

		if (table->right & 1u << i)
			fprintf(to, "%*s", width[i], cell);
		else
			fprintf(to, "%-*s", i == last ? 0 : width[i], cell);
		fputs(i == last ? "\n" : "  ", to);
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

void table_write(struct table *table, bool heads, FILE *to)
{
	int width[TABLE_COLUMNS] = {0};

	for (unsigned row = !heads; row < table->n_rows; row++)
		for (unsigned i = 0; i < table->n_columns; i++) {
			const char *cell = table->rows[row][i];
			int length = cell ? (int)strlen(cell) : 0;

			if (length > width[i])
				width[i] = length;
		}
	for (unsigned row = !heads; row < table->n_rows; row++)
		print_row(table, table->rows[row], width, to);
	table_free(table);
}

void table_print(struct table *table)
{
	table_write(table, true, stdout);
}

void json_print(json_t *json)
{
	checked(json);
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
}

static char *base64(const char *bytes, size_t n)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = checked(malloc(n / 3 * 4 + 5)), *to = text;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t three = (uint8_t)bytes[i] << 16;

		three |= i + 1 < n ? (uint8_t)bytes[i + 1] << 8 : 0;
		three |= i + 2 < n ? (uint8_t)bytes[i + 2] : 0;
		*to++ = digits[three >> 18];
		*to++ = digits[three >> 12 & 63];
		*to++ = i + 1 < n ? digits[three >> 6 & 63] : '=';
		*to++ = i + 2 < n ? digits[three & 63] : '=';
	}
	*to = '\0';
	return text;
}

static void set_bytes(json_t *object, const char *key, const char *bytes, size_t n)
{
	char *coded = base64(bytes, n);

	json_object_set_new(object, key, json_string(coded));
	free(coded);
}

void json_set_text(json_t *object, const char *bytes, size_t n)
{
	json_t *text = json_stringn(bytes, n);

	if (text)
		json_object_set_new(object, "text", text);
	else
		set_bytes(object, "base64", bytes, n);
}

void json_set_name(json_t *object, const char *name)
{
	json_t *text = json_string(name);
	char *ascii;

	if (text) {
		json_object_set_new(object, "name", text);
		return;
	}
	ascii = checked(strdup(name));
	for (char *at = ascii; *at; at++)
		if (*at & 0x80)
			*at = '?';
	json_object_set_new(object, "name", json_string(ascii));
	set_bytes(object, "name_base64", name, strlen(name));
	free(ascii);
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
