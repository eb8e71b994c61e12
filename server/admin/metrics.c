/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics in the Prometheus text format (version 0.0.4), from one table. Series are bounded by the configuration: an
 * upstream is a label, a repository never is. Of counters with several labels only what has been counted is shown.
 */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "server/files/files.h"
#include "server/pull/look.h"
#include "server/registry/traffic.h"
#include "store/evict.h"
#include "store/index.h"
#include "store/store.h"
#include "upstream/fetch.h"

#include <inttypes.h>
#include <string.h>

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct seen_upstream {
	char *label; /* upstream="NAME" */
	struct pull_upstream *upstream;
	struct registry_stats stats;
};

/* What is shown: looked at once. */
struct scrape {
	struct admin *admin;
	struct index_totals totals;
	struct seen_upstream *upstreams;
	size_t upstream_count;
};

struct metric {
	const char *name;
	const char *type;
	const char *help;
	void (*show)(struct buf *out, const struct scrape *scrape, const char *name);
};

/* Downstream. */

static void show_requests(struct buf *out, const struct scrape *scrape, const char *name)
{
	const struct traffic *traffic = scrape->admin->traffic;

	for (int kind = 0; kind < TRAFFIC_KINDS; kind++)
		for (int method = 0; method < TRAFFIC_METHODS; method++)
			for (unsigned code = 0; code < COUNT_STATUSES; code++)
				for (int outcome = 0; outcome < TRAFFIC_OUTCOMES; outcome++) {
					uint64_t value = count_read(&traffic->requests[kind][method][code][outcome]);

					if (value)
						buf_printf(out,
							   "%s{kind=\"%s\",method=\"%s\",code=\"%s\",outcome=\"%s\"} "
							   "%" PRIu64 "\n",
							   name, traffic_kind_name(kind), traffic_method_name(method),
							   count_status_text(code), traffic_outcome_name(outcome),
							   value);
				}
}

static void show_served(struct buf *out, const struct scrape *scrape, const char *name)
{
	for (int outcome = 0; outcome < TRAFFIC_OUTCOMES; outcome++)
		buf_printf(out, "%s{outcome=\"%s\"} %" PRIu64 "\n", name, traffic_outcome_name(outcome),
			   count_read(&scrape->admin->traffic->served_bytes[outcome]));
}

static void show_histogram(struct buf *out, const char *name, const struct count_histogram *histogram)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < COUNT_BUCKETS; i++) {
		sum += count_read(&histogram->buckets[i]);
		buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)count_bounds_us[i] / 1e6, sum);
	}
	sum += count_read(&histogram->buckets[COUNT_BUCKETS]);
	buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, sum);
	buf_printf(out, "%s_sum %.6f\n", name, (double)count_read(&histogram->sum_us) / 1e6);
	buf_printf(out, "%s_count %" PRIu64 "\n", name, sum);
}

static void show_request_time(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_histogram(out, name, &scrape->admin->traffic->request_time);
}

static void show_first_byte_time(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_histogram(out, name, &scrape->admin->traffic->first_byte_time);
}

/* Upstreams. */

static void show_upstream_requests(struct buf *out, const struct scrape *scrape, const char *name)
{
	static const char *const methods[FETCH_METHODS] = {
		[FETCH_GET] = "GET", [FETCH_HEAD] = "HEAD", [FETCH_POST] = "POST"};

	for (size_t i = 0; i < scrape->upstream_count; i++)
		for (unsigned kind = 0; kind < REGISTRY_KINDS; kind++)
			for (int method = 0; method < FETCH_METHODS; method++)
				for (unsigned code = 0; code < COUNT_STATUSES; code++) {
					const struct seen_upstream *seen = &scrape->upstreams[i];
					uint64_t value = count_read(&seen->stats.fetch->requests[kind][method][code]);

					if (value)
						buf_printf(out,
							   "%s{%s,kind=\"%s\",method=\"%s\",code=\"%s\"} %" PRIu64 "\n",
							   name, seen->label, registry_kind_name(kind), methods[method],
							   count_status_text(code), value);
				}
}

static void show_upstream_bytes(struct buf *out, const struct scrape *scrape, const char *name)
{
	for (size_t i = 0; i < scrape->upstream_count; i++)
		buf_printf(out, "%s{%s} %" PRIu64 "\n", name, scrape->upstreams[i].label,
			   count_read(&scrape->upstreams[i].stats.fetch->body_bytes));
}

static void show_upstream_retries(struct buf *out, const struct scrape *scrape, const char *name)
{
	for (size_t i = 0; i < scrape->upstream_count; i++)
		for (int reason = 0; reason < REGISTRY_RETRIES; reason++)
			if (scrape->upstreams[i].stats.retries[reason])
				buf_printf(out, "%s{%s,reason=\"%s\"} %" PRIu64 "\n", name, scrape->upstreams[i].label,
					   registry_retry_name(reason), scrape->upstreams[i].stats.retries[reason]);
}

static void show_upstream_connections(struct buf *out, const struct scrape *scrape, const char *name)
{
	static const char *const protocols[FETCH_PROTOCOLS] = {[FETCH_HTTP1_1] = "http/1.1", [FETCH_HTTP_2] = "h2"};

	for (size_t i = 0; i < scrape->upstream_count; i++)
		for (int protocol = 0; protocol < FETCH_PROTOCOLS; protocol++)
			buf_printf(out, "%s{%s,protocol=\"%s\"} %" PRIu64 "\n", name, scrape->upstreams[i].label,
				   protocols[protocol],
				   count_read(&scrape->upstreams[i].stats.fetch->connections[protocol]));
}

static void show_upstream_fallbacks(struct buf *out, const struct scrape *scrape, const char *name)
{
	for (size_t i = 0; i < scrape->upstream_count; i++)
		buf_printf(out, "%s{%s} %" PRIu64 "\n", name, scrape->upstreams[i].label,
			   scrape->upstreams[i].stats.http2_fallbacks);
}

static void show_upstream_budget(struct buf *out, const struct scrape *scrape, const char *name)
{
	for (size_t i = 0; i < scrape->upstream_count; i++)
		if (scrape->upstreams[i].stats.budget_known)
			buf_printf(out, "%s{%s} %" PRIu64 "\n", name, scrape->upstreams[i].label,
				   scrape->upstreams[i].stats.budget_remaining);
}

static void show_upstream_answers(struct buf *out, const struct scrape *scrape, const char *name)
{
	for (size_t i = 0; i < scrape->upstream_count; i++)
		buf_printf(out, "%s{%s} %d\n", name, scrape->upstreams[i].label,
			   !pull_upstream_is_ailing(scrape->upstreams[i].upstream));
}

/* The rest. */

static void show_number(struct buf *out, const char *name, uint64_t value)
{
	buf_printf(out, "%s %" PRIu64 "\n", name, value);
}

static void show_flights(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, pull_flight_count(scrape->admin->pull));
}

/* All of them are 0 where layers are not indexed. */
static const struct files_counts *counts_of(const struct scrape *scrape)
{
	static const struct files_counts none;

	return scrape->admin->files ? files_counts(scrape->admin->files) : &none;
}

static void show_indexed(struct buf *out, const struct scrape *scrape, const char *name)
{
	buf_printf(out, "%s{outcome=\"made\"} %" PRIu64 "\n", name, count_read(&counts_of(scrape)->indexed));
	buf_printf(out, "%s{outcome=\"failed\"} %" PRIu64 "\n", name, count_read(&counts_of(scrape)->failed));
}

static void show_index_bytes(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, count_read(&counts_of(scrape)->index_bytes));
}

static void show_parts(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, count_read(&counts_of(scrape)->sparse_reads));
}

static void show_part_bytes(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, count_read(&counts_of(scrape)->sparse_bytes));
}

static void show_views(struct buf *out, const struct scrape *scrape, const char *name)
{
	buf_printf(out, "%s{outcome=\"made\"} %" PRIu64 "\n", name, count_read(&counts_of(scrape)->views_made));
	buf_printf(out, "%s{outcome=\"kept\"} %" PRIu64 "\n", name, count_read(&counts_of(scrape)->views_kept));
}

static void show_store_bytes(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, scrape->totals.bytes);
}

static void show_store_blobs(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, scrape->totals.blobs);
}

static void show_evicted(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, evict_total_bytes(scrape->admin->store));
}

static void show_corrupt(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, store_corrupt_count(scrape->admin->store));
}

static void show_up_since(struct buf *out, const struct scrape *scrape, const char *name)
{
	show_number(out, name, (uint64_t)scrape->admin->began_wall_s);
}

static void show_build(struct buf *out, const struct scrape *scrape, const char *name)
{
	(void)scrape;
	buf_printf(out, "%s{version=\"" LARDER_VERSION "\"} 1\n", name);
}

static const struct metric metrics[] = {
	{"larder_requests_total", "counter",
	 "Requests of clients that have ended, by what was asked for, the answer's status (none: the client left "
	 "before "
	 "one), and how it came about.",
	 show_requests},
	{"larder_served_bytes_total", "counter", "Body bytes sent to clients.", show_served},
	{"larder_request_seconds", "histogram", "From a request's head to its answer's last byte.", show_request_time},
	{"larder_first_byte_seconds", "histogram", "From a request's head to its answer's first byte.",
	 show_first_byte_time},
	{"larder_upstream_requests_total", "counter",
	 "Requests sent to an upstream, its mirrors, token services and where it redirects to (code none: no answer).",
	 show_upstream_requests},
	{"larder_upstream_bytes_total", "counter", "Body bytes received for an upstream.", show_upstream_bytes},
	{"larder_upstream_retries_total", "counter", "Requests made again, here or to a mirror, after a failure.",
	 show_upstream_retries},
	{"larder_upstream_connections", "gauge", "Open connections that have brought an answer.",
	 show_upstream_connections},
	{"larder_upstream_http2_fallbacks_total", "counter",
	 "How often HTTP/2 was given up for HTTP/1.1 for a while, since it failed.", show_upstream_fallbacks},
	{"larder_upstream_ratelimit_remaining", "gauge",
	 "What the registry last said is left of its rate limit, where it says so.", show_upstream_budget},
	{"larder_upstream_answers", "gauge",
	 "0 while the upstream keeps questions waiting for so long that nobody is made to wait for it; else 1.",
	 show_upstream_answers},
	{"larder_flights", "gauge", "Blobs that are being fetched.", show_flights},
	{"larder_store_bytes", "gauge", "Bytes of the blobs in the store.", show_store_bytes},
	{"larder_store_blobs", "gauge", "Blobs in the store.", show_store_blobs},
	{"larder_evicted_bytes_total", "counter", "Bytes removed from the store to make room.", show_evicted},
	{"larder_corrupt_blobs_total", "counter", "Blobs that did not match their digest, arriving or stored.",
	 show_corrupt},
	{"larder_layers_indexed_total", "counter", "Layers whose files were indexed, and what proved to be no layer.",
	 show_indexed},
	{"larder_layer_index_bytes_total", "counter", "Bytes of the indexes that were made.", show_index_bytes},
	{"larder_layer_parts_total", "counter", "Parts read of layers that are not held.", show_parts},
	{"larder_layer_part_bytes_total", "counter", "Bytes of these parts.", show_part_bytes},
	{"larder_image_views_total", "counter", "Looks into images: made for it, or kept from a look before.",
	 show_views},
	{"larder_up_since_seconds", "gauge", "When this process started, in seconds since 1970.", show_up_since},
	{"larder_build_info", "gauge", "1, with the version as a label.", show_build},
};

static char *label_make(const char *upstream)
{
	_cleanup_(buf_dispose) struct buf text = {0};

	buf_append_text(&text, "upstream=\"");
	for (const char *at = upstream; *at; at++)
		buf_printf(&text, *at == '\\' || *at == '"' ? "\\%c" : "%c", *at);
	buf_append_text(&text, "\"");
	return take_pointer(text.data);
}

static void look(struct scrape *scrape)
{
	struct pull_upstream *const *upstreams = pull_upstreams(scrape->admin->pull, &scrape->upstream_count);
	struct err err;

	index_get_totals(store_index(scrape->admin->store), &scrape->totals, &err);
	scrape->upstreams = mem_alloc(scrape->upstream_count * sizeof(*scrape->upstreams));
	for (size_t i = 0; i < scrape->upstream_count; i++) {
		struct seen_upstream *seen = &scrape->upstreams[i];

		seen->upstream = upstreams[i];
		seen->label = label_make(pull_upstream_name(seen->upstream));
		pull_upstream_stats(seen->upstream, &seen->stats);
	}
}

void admin_metrics(struct admin_visit *visit)
{
	struct scrape scrape = {.admin = visit->admin};
	_cleanup_(buf_dispose) struct buf out = {0};

	look(&scrape);
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		buf_printf(&out, "# HELP %s %s\n# TYPE %s %s\n", metrics[i].name, metrics[i].help, metrics[i].name,
			   metrics[i].type);
		metrics[i].show(&out, &scrape, metrics[i].name);
	}
	for (size_t i = 0; i < scrape.upstream_count; i++)
		free(scrape.upstreams[i].label);
	free(scrape.upstreams);
	admin_reply_text(visit, METRICS_TYPE, &out);
}
