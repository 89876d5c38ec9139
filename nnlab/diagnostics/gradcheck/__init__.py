"""Are these gradients right? Subjects, differences, causes."""
