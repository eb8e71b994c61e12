# SPDX-License-Identifier: Apache-2.0
unit_test(server config cli)
