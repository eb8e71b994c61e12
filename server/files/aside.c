/* SPDX-License-Identifier: Apache-2.0 */
#include "server/files/aside.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/work.h"
#include "layer/build.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LOOK_US     20000  /* of less the clocks tell too little */
#define LOOK_MAX_US 200000 /* longer ago is no look any more */
#define BUSY_PART   8      /* of the processors: an eighth */

struct aside {
	struct work *work; /* one thread, at SCHED_IDLE */
	struct work_job lower;
	uint64_t processors;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t fed;
	uint64_t own_us; /* of a processor, which feeding took so far */

	/* The caller's. */
	uint64_t looked_us, others_us; /* when it looked, and what the other threads had taken by then */
	bool busy;
};

struct feeding {
	struct work_job job; /* first */
	struct aside *aside;
	struct layer_builder *builder;
	const void *data;
	size_t len;
	struct err *err;
	int code;
	bool done;
};

static uint64_t processor_us(clockid_t clock)
{
	struct timespec spent;

	clock_gettime(clock, &spent);
	return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}

/* Of the thread that runs it. Needs no rights; where it is refused all the same, waiting must do. */
static void lower(struct work_job *job)
{
	const struct sched_param none = {0};

	(void)job;
	(void)sched_setscheduler(0, SCHED_IDLE, &none);
}

struct aside *aside_start(void)
{
	struct aside *aside = mem_alloc(sizeof(*aside));
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	aside->processors = processors > 0 ? (uint64_t)processors : 1;
	pthread_mutex_init(&aside->lock, NULL);
	pthread_cond_init(&aside->fed, NULL);
	aside->work = work_start(1);
	aside->lower.run = lower;
	work_submit(aside->work, &aside->lower);
	return aside;
}

void aside_stop(struct aside *aside)
{
	work_stop(aside->work);
	pthread_cond_destroy(&aside->fed);
	pthread_mutex_destroy(&aside->lock);
	free(aside);
}

bool aside_must_wait(struct aside *aside)
{
	uint64_t now = clock_us(), passed = now - aside->looked_us, others, took;

	if (passed < LOOK_US)
		return aside->busy;
	others = processor_us(CLOCK_PROCESS_CPUTIME_ID) - aside->own_us;
	took = others - aside->others_us;
	aside->busy = passed > LOOK_MAX_US || took * BUSY_PART > passed * aside->processors;
	aside->looked_us = now;
	aside->others_us = others;
	return aside->busy;
}

static void feed(struct work_job *job)
{
	struct feeding *feeding = (struct feeding *)job;
	struct aside *aside = feeding->aside;

	feeding->code = layer_builder_feed(feeding->builder, feeding->data, feeding->len, feeding->err);
	pthread_mutex_lock(&aside->lock);
	aside->own_us = processor_us(CLOCK_THREAD_CPUTIME_ID);
	feeding->done = true;
	pthread_cond_signal(&aside->fed);
	pthread_mutex_unlock(&aside->lock);
}

int aside_feed(struct aside *aside, struct layer_builder *builder, const void *data, size_t len, struct err *err)
{
	struct feeding feeding = {
		.job.run = feed, .aside = aside, .builder = builder, .data = data, .len = len, .err = err};

	work_submit(aside->work, &feeding.job);
	pthread_mutex_lock(&aside->lock);
	while (!feeding.done)
		pthread_cond_wait(&aside->fed, &aside->lock);
	pthread_mutex_unlock(&aside->lock);
	return feeding.code;
}
