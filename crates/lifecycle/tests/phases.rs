//! The phases, by real signals. A signal reaches the whole process, so each of these tests needs one of its own, which
//! nextest gives.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bharatmart_lifecycle::{Lifecycle, Phase};
use nix::sys::signal::{Signal, raise};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn is(code: ExitCode, expected: ExitCode) -> bool {
    format!("{code:?}") == format!("{expected:?}")
}

#[expect(clippy::unused_async, reason = "a task is a future")]
async fn dies() {
    panic!("out of ideas")
}

#[tokio::test]
async fn phases_follow_each_other_in_time() {
    let lifecycle = Lifecycle::new(ms(60_000), ms(2000)).unwrap();
    let (draining, stopping, aborting) = (
        lifecycle.draining(),
        lifecycle.stopping(),
        lifecycle.aborting(),
    );
    assert_eq!(lifecycle.phase(), Phase::Running);
    lifecycle.spawn("server", stopping.clone().cancelled_owned());

    let begin = Instant::now();
    raise(Signal::SIGTERM).unwrap();
    draining.cancelled().await;
    assert_eq!(lifecycle.phase(), Phase::Draining);
    assert!(begin.elapsed() < ms(1900), "{:?}", begin.elapsed());
    stopping.cancelled().await;
    assert_eq!(lifecycle.phase(), Phase::Stopping);
    assert!(begin.elapsed() >= ms(2000), "{:?}", begin.elapsed());
    assert!(is(lifecycle.run().await, ExitCode::SUCCESS));
    assert!(begin.elapsed() < ms(30_000), "{:?}", begin.elapsed());
    assert!(
        aborting.is_cancelled(),
        "nothing is left running behind the end"
    );
}

#[tokio::test]
async fn interrupt_shuts_down_as_terminate_does() {
    let lifecycle = Lifecycle::new(ms(5000), Duration::ZERO).unwrap();
    lifecycle.spawn("worker", lifecycle.stopping().cancelled_owned());
    raise(Signal::SIGINT).unwrap();
    assert!(is(lifecycle.run().await, ExitCode::SUCCESS));
}

#[tokio::test]
async fn running_work_is_finished() {
    let lifecycle = Lifecycle::new(ms(5000), Duration::ZERO).unwrap();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let stopping = lifecycle.stopping();
    lifecycle.spawn("job", async move {
        stopping.cancelled().await;
        tokio::time::sleep(ms(300)).await;
        sender.send("finished").map_err(|_| "nobody waits")
    });
    raise(Signal::SIGTERM).unwrap();
    assert!(is(lifecycle.run().await, ExitCode::SUCCESS));
    assert_eq!(receiver.await, Ok("finished"));
}

#[tokio::test]
async fn work_is_handed_back_before_the_timeout_and_that_is_a_clean_end() {
    let lifecycle = Lifecycle::new(ms(5000), Duration::ZERO).unwrap();
    let aborting = lifecycle.aborting();
    lifecycle.spawn("job", async move {
        aborting.cancelled().await;
        // Time to put the job back into its queue.
        tokio::time::sleep(ms(50)).await;
    });
    let begin = Instant::now();
    raise(Signal::SIGTERM).unwrap();
    assert!(is(lifecycle.run().await, ExitCode::SUCCESS));
    // That it was in time is what the exit code says.
    assert!(begin.elapsed() >= ms(4500), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_task_that_never_ends_is_left_at_the_timeout() {
    let lifecycle = Lifecycle::new(ms(500), ms(100)).unwrap();
    lifecycle.spawn("stuck", std::future::pending::<()>());
    let begin = Instant::now();
    raise(Signal::SIGTERM).unwrap();
    assert!(is(lifecycle.run().await, ExitCode::FAILURE));
    assert!(
        begin.elapsed() >= ms(500) && begin.elapsed() < ms(10_000),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let lifecycle = Lifecycle::new(ms(60_000), ms(50_000)).unwrap();
    let draining = lifecycle.draining();
    lifecycle.spawn("job", lifecycle.aborting().cancelled_owned());
    let begin = Instant::now();
    raise(Signal::SIGTERM).unwrap();
    draining.cancelled().await;
    raise(Signal::SIGTERM).unwrap();
    assert!(is(lifecycle.run().await, ExitCode::FAILURE));
    assert!(begin.elapsed() < ms(20_000), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_a_stuck_task() {
    let lifecycle = Lifecycle::new(ms(60_000), ms(50_000)).unwrap();
    let draining = lifecycle.draining();
    lifecycle.spawn("stuck", std::future::pending::<()>());
    let begin = Instant::now();
    raise(Signal::SIGTERM).unwrap();
    draining.cancelled().await;
    raise(Signal::SIGINT).unwrap();
    assert!(is(lifecycle.run().await, ExitCode::FAILURE));
    assert!(begin.elapsed() < ms(20_000), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_panicking_task_shuts_the_process_down_with_a_failure() {
    let lifecycle = Lifecycle::new(ms(5000), Duration::ZERO).unwrap();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let stopping = lifecycle.stopping();
    lifecycle.spawn("other", async move {
        stopping.cancelled().await;
        sender.send("ended in order").map_err(|_| "nobody waits")
    });
    lifecycle.spawn("server", dies());
    assert!(is(lifecycle.run().await, ExitCode::FAILURE));
    assert_eq!(receiver.await, Ok("ended in order"));
}

#[tokio::test]
async fn a_failing_task_shuts_the_process_down_with_a_failure() {
    let lifecycle = Lifecycle::without_signals(ms(5000), Duration::ZERO);
    lifecycle.spawn("server", async { Err::<(), _>("address in use") });
    assert!(is(lifecycle.run().await, ExitCode::FAILURE));
}

#[tokio::test]
async fn a_task_may_end_by_itself() {
    let lifecycle = Lifecycle::without_signals(ms(5000), Duration::ZERO);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    lifecycle.spawn("once", async move {
        sender.send(()).map_err(|()| "nobody waits")
    });
    receiver.await.unwrap();
    assert_eq!(lifecycle.phase(), Phase::Running);
    lifecycle.shut_down();
    assert!(is(lifecycle.run().await, ExitCode::SUCCESS));
}

#[tokio::test]
async fn a_signal_gives_up_the_start() {
    let lifecycle = Lifecycle::new(ms(5000), Duration::ZERO).unwrap();
    assert_eq!(lifecycle.during_start(async { 7 }).await, Some(7));
    raise(Signal::SIGTERM).unwrap();
    assert_eq!(
        lifecycle.during_start(std::future::pending::<()>()).await,
        None
    );
    assert!(is(lifecycle.run().await, ExitCode::SUCCESS));
}
