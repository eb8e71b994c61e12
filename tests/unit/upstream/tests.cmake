# SPDX-License-Identifier: Apache-2.0
unit_test(upstream challenge upstream)
unit_test(upstream retry upstream)
unit_test(upstream url upstream)
unit_test(upstream loop upstream)
unit_test(upstream pace upstream)
unit_test(upstream token upstream)
