//! What the shop writes to its customers.

use bharatmart_database::orders::LockedOrder;
use bharatmart_domain::MailKind;
use bharatmart_queue::SendEmail;

/// Writes the mail of `kind` about `order`.
pub(crate) fn compose(kind: MailKind, order: &LockedOrder) -> SendEmail {
    let (id, total) = (order.id, order.total_amount.to_inr());
    let (subject, news) = match kind {
        MailKind::OrderConfirmation => (
            "Order Confirmation",
            format!(
                "Thank you for your order {id} of {total}.\n\nIt goes to:\n{}",
                order.shipping_address
            ),
        ),
        MailKind::PaymentSuccess => (
            "Payment Successful",
            format!("We have received {total} for your order {id}. It is being packed."),
        ),
        MailKind::PaymentFailed => (
            "Payment Failed",
            format!(
                "The payment of {total} for your order {id} was declined.\n\nThe goods are kept \
                 for you for a little while: please try another way to pay."
            ),
        ),
        MailKind::OrderShipped => (
            "Order Shipped",
            format!(
                "Your order {id} is on its way to:\n{}",
                order.shipping_address
            ),
        ),
        MailKind::OrderCancelled => (
            "Order Cancelled",
            format!(
                "Your order {id} of {total} was cancelled. If you have paid for it, the money is \
                 on its way back."
            ),
        ),
    };
    SendEmail {
        to: order.email.clone(),
        subject: format!("{subject} – BharatMart"),
        body: format!("Namaste {},\n\n{news}\n\nBharatMart", order.full_name),
        kind,
        order_id: order.id,
    }
}

/// The HTML part of a mail with the text `body`.
#[must_use]
pub fn html_body(body: &str) -> String {
    let mut html = String::with_capacity(body.len() + 64);
    html.push_str("<!doctype html><html><body>");
    for paragraph in body.split("\n\n") {
        html.push_str("<p>");
        for (index, line) in paragraph.split('\n').enumerate() {
            if index > 0 {
                html.push_str("<br>");
            }
            for character in line.chars() {
                match character {
                    '&' => html.push_str("&amp;"),
                    '<' => html.push_str("&lt;"),
                    '>' => html.push_str("&gt;"),
                    other => html.push(other),
                }
            }
        }
        html.push_str("</p>");
    }
    html.push_str("</body></html>");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_shows_what_the_text_says_and_nothing_else() {
        assert_eq!(
            html_body("a <b> & c\nd\n\ne"),
            "<!doctype html><html><body><p>a &lt;b&gt; &amp; c<br>d</p><p>e</p></body></html>"
        );
    }
}
