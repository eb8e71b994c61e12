/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/registry_client.h"

#include "base/cleanup.h"
#include "base/digest.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_S 10L
#define WAIT_S    60L /* without a byte */

struct transfer {
	const struct registry_question *question;
	struct registry_reply *reply;
};

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	const struct transfer *transfer = arg;
	struct registry_reply *reply = transfer->reply;
	size_t len = size * count;

	reply->bytes += len;
	if (!transfer->question->hasher)
		return buf_append(&reply->body, data, len) ? 0 : len;
	hasher_update(transfer->question->hasher, data, len);
	if (reply->body.len + len <= REGISTRY_CLIENT_KEPT)
		buf_append(&reply->body, data, len);
	return len;
}

/* "Name: value\r\n" into `value`, when it is this header. */
static void take_header(const char *line, size_t len, const char *name, char *value, size_t size)
{
	size_t name_len = strlen(name), from = name_len + 1;

	if (len <= from || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
		return;
	while (from < len && line[from] == ' ')
		from++;
	while (len > from && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	if (len - from >= size)
		return;
	memcpy(value, line + from, len - from);
	value[len - from] = '\0';
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
	struct registry_reply *reply = arg;

	take_header(data, size * count, "Docker-Content-Digest", reply->digest, sizeof(reply->digest));
	take_header(data, size * count, "Cache-Status", reply->cache_status, sizeof(reply->cache_status));
	return size * count;
}

static void set_options(CURL *curl, struct transfer *transfer)
{
	const struct registry_question *question = transfer->question;

	curl_easy_setopt(curl, CURLOPT_URL, question->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "larder-doctor/" LARDER_VERSION);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, WAIT_S);
	if (question->ca)
		curl_easy_setopt(curl, CURLOPT_CAINFO, question->ca);
	if (question->credentials) {
		curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(curl, CURLOPT_USERPWD, question->credentials);
	}
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer->reply);
}

int registry_client_get(const struct registry_question *question, struct registry_reply *reply, struct err *err)
{
	CURL *curl = curl_easy_init();
	struct transfer transfer = {question, reply};
	struct curl_slist *headers = NULL;
	CURLcode code;
	long status = 0;

	*reply = (struct registry_reply){.body = {.max = REGISTRY_CLIENT_BODY_MAX}};
	set_options(curl, &transfer);
	if (question->accept) {
		_cleanup_free_ char *line = mem_printf("Accept: %s", question->accept);

		headers = curl_slist_append(headers, line);
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	}
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	reply->status = (int)status;
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	if (code == CURLE_OK)
		return 0;
	buf_dispose(&reply->body);
	if (code == CURLE_WRITE_ERROR)
		return err_set(err, ERR_LIMIT, "the answer is longer than %zu bytes", REGISTRY_CLIENT_BODY_MAX);
	return err_set(err, ERR_UPSTREAM, "%s", curl_easy_strerror(code));
}
