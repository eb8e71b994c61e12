/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The larder processes of the harness. A thread of each reads both output streams until they end; the test's thread
 * waits for what it reads. Not for tests: they use harness.h.
 */
#pragma once

#include <stdbool.h>

struct larder;

/* Keeps the arguments (the program first, NULL last), copied; `listeners` is how many listening lines mean that it is
 * ready. */
struct larder *process_new(const char *const *arguments, unsigned listeners);
/* Starts it and waits until it is ready; fails the test when that does not come. */
void process_start(struct larder *larder);
/* At the end of a test: stops it if it runs. False, with a message, when anything was wrong with how it ended. */
bool process_end(struct larder *larder);
/* SIGTERM if it runs; waits, and kills it when it does not end. False then; *status is as waitpid() says. */
bool process_finish(struct larder *larder, unsigned deadline_ms, int *status);
/* Prints what it wrote. */
void process_print(struct larder *larder);
void process_free(struct larder *larder);
