/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations out of a text, files that they name, and what is said of those that are refused. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char directory[] = "/tmp/larder-config-XXXXXX";

static inline void free_config(struct config **config)
{
	config_free(*config);
}
#define _cleanup_config_ _cleanup_(free_config)

static inline struct config *parse(const char *text)
{
	struct config *config = NULL;
	struct err err = {0};
	if (config_parse("t.yaml", text, strlen(text), &config, &err))
		fail_msg("refused: %s", err.text);
	assert_non_null(config);
	return config;
}

/* Expects the one message; `says` ending in '~' stands for its beginning. */
static inline void refuse(const char *text, const char *says)
{
	struct config *config = (struct config *)directory;
	struct err err = {0};
	int code = config_parse("t.yaml", text, strlen(text), &config, &err);
	assert_null(config);
	assert_int_not_equal(code, 0);
	assert_int_equal(code, err.code);
	size_t len = strlen(says);
	if (says[len - 1] == '~')
		len--;
	else
		len++;
	if (strncmp(err.text, says, len) != 0)
		fail_msg("for:\n%s\nexpected: %s\nbut said: %s", text, says, err.text);
}

static inline char *write_file(const char *name, const char *text, size_t len)
{
	char *path = mem_printf("%s/%s", directory, name);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	return path;
}

static inline int make_directory(void **state)
{
	(void)state;
	unsetenv("LARDER_CONFIG");
	return mkdtemp(directory) ? 0 : -1;
}

static inline int remove_directory(void **state)
{
	DIR *listing = opendir(directory);

	(void)state;
	for (const struct dirent *entry; listing && (entry = readdir(listing));) {
		_cleanup_free_ char *path = mem_printf("%s/%s", directory, entry->d_name);

		if (entry->d_type == DT_REG)
			unlink(path);
	}
	if (listing)
		closedir(listing);
	return rmdir(directory);
}
