/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/tls_input.h"

#include <sys/socket.h>

#define RECORD_CHANGE_CIPHER 20
#define RECORD_HANDSHAKE     22

/* The first handshake ends with what follows the change of ciphers. In TLS 1.3 all records look like data from there
 * on, and nobody can renegotiate. */
static void refuse_renegotiation(struct http_tls_input *input)
{
	uint8_t type = input->header[0];

	if (type == RECORD_CHANGE_CIPHER)
		input->ciphers_changed = true;
	else if (type == RECORD_HANDSHAKE && input->finished)
		(void)gnutls_alert_send(input->session, GNUTLS_AL_WARNING, GNUTLS_A_NO_RENEGOTIATION);
	else if (type == RECORD_HANDSHAKE && gnutls_protocol_get_version(input->session) == GNUTLS_TLS1_2)
		input->finished = input->ciphers_changed;
}

static void follow(struct http_tls_input *input, const uint8_t *data, size_t len)
{
	while (len > 0) {
		size_t step;

		if (input->left > 0) {
			step = len < input->left ? len : input->left;
			input->left -= (unsigned)step;
		} else {
			step = 1;
			input->header[input->header_len++] = *data;
			if (input->header_len == HTTP_TLS_HEADER) {
				input->header_len = 0;
				input->left = (unsigned)input->header[3] << 8 | input->header[4];
				refuse_renegotiation(input);
			}
		}
		data += step;
		len -= step;
	}
}

static ssize_t pull(gnutls_transport_ptr_t arg, void *data, size_t size)
{
	struct http_tls_input *input = arg;
	ssize_t got = recv(input->fd, data, size, 0);

	if (got > 0)
		follow(input, data, (size_t)got);
	return got;
}

void http_tls_input_begin(struct http_tls_input *input, gnutls_session_t session, int fd)
{
	gnutls_transport_ptr_t in, out;

	*input = (struct http_tls_input){.session = session, .fd = fd};
	gnutls_transport_get_ptr2(session, &in, &out);
	gnutls_transport_set_ptr2(session, input, out);
	gnutls_transport_set_pull_function(session, pull);
}
