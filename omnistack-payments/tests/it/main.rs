//! Tests of payments.

// mod analytics;
// mod credentials;
mod fake;
// mod payment;
// mod paypal;
// mod razorpay;
// mod router;
// mod stripe;
