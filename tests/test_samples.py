from __future__ import annotations

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests import regenerate_samples


def test_the_samples_are_what_the_embedded_brand_answers_today():
    for entity, frame in regenerate_samples.fetch().items():
        pd.testing.assert_frame_equal(wx.load_sample(entity), frame)


def test_an_unknown_sample_is_named():
    with pytest.raises(wx.ValidationError, match="'coupons'; there are product_coupons, stocks, user_coupons"):
        wx.load_sample("coupons")
