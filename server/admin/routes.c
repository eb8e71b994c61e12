/* SPDX-License-Identifier: Apache-2.0 */
#include "server/admin/admin_internal.h"

const struct admin_route admin_routes[] = {
	{HTTP_GET, "/healthz", "", "200 while this process is sound, else 503 with reasons", admin_healthz,
	 .open = true},
	{HTTP_GET, "/readyz", "", "200 when clients may be sent here, else 503 with reasons", admin_readyz,
	 .open = true},
	{HTTP_GET, "/metrics", "", "metrics in the Prometheus text format", admin_metrics},
	{HTTP_GET, "/api/v1/status", "", "how this larder does, as `larder status` shows it", admin_status},
	{HTTP_GET, "/api/v1/export", "ref=&platform=&format=&referrers=",
	 "the images as one tar archive, an OCI image layout", admin_export, .way = ADMIN_STREAMS},
	{HTTP_POST, "/api/v1/export", "ref=&platform=&format=&referrers=",
	 "the same without what the receipt says, that is the request's body", admin_export, .way = ADMIN_STREAMS},
	{HTTP_GET, "/api/v1/receipt", "", "what this store holds, for an export elsewhere to leave out", admin_receipt,
	 .way = ADMIN_STREAMS},
	{HTTP_POST, "/api/v1/import",
	 "as=&verify_key=", "takes images from a tar archive, the request's body; what came and what is missing",
	 admin_import, .way = ADMIN_STREAMS},
	{HTTP_GET, "/api/v1/explain", "ref=", "what a pull of the reference would do right now, and why", admin_explain,
	 .way = ADMIN_BLOCKS},
	{HTTP_POST, "/api/v1/prefetch", "", "fetches images ahead of their use: 202 and a job", admin_start_prefetch,
	 .way = ADMIN_BLOCKS, .takes_body = true},
	{HTTP_GET, "/api/v1/jobs", "", "all jobs, the newest first", admin_list_jobs},
	{HTTP_GET, "/api/v1/jobs/", "", "a job; with /events behind it, as server-sent events", admin_show_job},
	{HTTP_DELETE, "/api/v1/jobs/", "", "cancels a job", admin_cancel_job, .way = ADMIN_BLOCKS},
};

const size_t admin_route_count = sizeof(admin_routes) / sizeof(admin_routes[0]);
